//! Guests: operating systems behind the seam [`GuestOs`](crate::balloon::GuestOs), each with its own way to choose the
//! pages that it gives to the balloon (§3.2).
//!
//! | guest | gives |
//! |---|---|
//! | [`DefaultGuest`] | empty pages first, then random ones |

mod default;

pub use default::DefaultGuest;
