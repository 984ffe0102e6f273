//! What processes leave when they end.

use super::*;

/// Pages and slots of the swap device alike; what is cached stays.
#[test]
fn a_process_that_is_through_leaves_its_files_only() {
    let mut world = World::booted(&GuestConfig { swap_pages: Some(500), ..linux() }, 1024);
    world.read(1, 0..100);
    world.write_memory(0..700);
    world.write_memory(100_000..100_500);
    let before = world.says();
    assert!(before.swapped > 100 && before.anonymous + before.swapped == 1200, "{before:?}");
    world.end(600..100_300);
    world.audit();
    let says = world.says();
    assert_eq!((says.anonymous + says.swapped, says.cache), (800, before.cache));
    world.end(0..u32::MAX);
    world.audit();
    let says = world.says();
    assert_eq!((says.anonymous, says.swapped, says.cache), (0, 0, before.cache));
    assert_eq!(says.free, before.free + before.anonymous);
    // All of it is there for the next one, whose pages are zero.
    world.write_memory(0..1200);
    assert_eq!(world.kernel.counts().kills, 0);
}
