//! The one error of the core. Each variant is a fact with its numbers; a failed call has changed nothing.

use thiserror::Error;

/// Why a call was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// Fewer machine pages are free than the call needs.
    #[error("{wanted} machine pages are wanted but {free} are free")]
    OutOfMachineMemory {
        /// Pages the call needs.
        wanted: u32,
        /// Pages that are free.
        free: u32,
    },
    /// A virtual machine above its target is held up while the host is lowest on memory (§6.3).
    #[error("VM {vm:?} is blocked until it has come down to its target of {target_pages} pages")]
    Blocked {
        /// Its name.
        vm: String,
        /// What it should have.
        target_pages: u32,
    },
    /// A host that leaves memory to those who come first has no policy, targets or states.
    #[error("the host does not divide its memory: it was made without a policy")]
    NothingDivided,
    /// A workload yields neither references nor a time to sleep until: its clock would stand.
    #[error(
        "VM '{vm}': workload {workload} yields no reference and does not sleep past {at_ns} ns of its time; time would stand"
    )]
    WorkloadStands {
        /// Whose.
        vm: String,
        /// What it is called.
        workload: String,
        /// Its own time.
        at_ns: u64,
    },
    /// A process refers to memory that its virtual machine has not, where the guest manages none: the process is killed.
    #[error(
        "VM {vm:?}: workload {workload} refers to page {page}; expected 0 to {}, which is all that a guest without memory \
         management has. The process is killed",
        pages - 1
    )]
    WorkloadBeyond {
        /// Whose.
        vm: String,
        /// What it is called.
        workload: String,
        /// The page.
        page: i64,
        /// Pages that there are.
        pages: u32,
    },
    /// A process reads or writes a file in a guest that has none: the process is killed.
    #[error(
        "VM {vm:?}: workload {workload} refers to file {file}, but a guest without memory management has no files; expected \
         a guest of kind linux or windows. The process is killed"
    )]
    WorkloadFile {
        /// Whose.
        vm: String,
        /// What it is called.
        workload: String,
        /// Number of the file.
        file: u32,
    },
    /// A workload that is not built in failed; what it raised is with whoever supplied it.
    #[error("workload {workload:?} failed: {reason}")]
    WorkloadFailed {
        /// What it is called.
        workload: String,
        /// What it said.
        reason: String,
    },
    /// A policy that is not built in failed; what it raised is with whoever supplied it.
    #[error("policy {policy:?} failed: {reason}")]
    PolicyFailed {
        /// Its name.
        policy: String,
        /// What it said.
        reason: String,
    },
    /// The swap file has no free slot.
    #[error("the swap file is full: all {slots} slots are in use")]
    SwapFull {
        /// Slots of the swap file.
        slots: u32,
    },
    /// A page number beyond the virtual machine's memory.
    #[error("page {ppn} of VM {vm:?} is out of range: it has {pages} pages, 0 to {}", pages - 1)]
    PageOutOfRange {
        /// Name of the virtual machine.
        vm: String,
        /// The page asked for.
        ppn: i64,
        /// Pages it has.
        pages: u32,
    },
    /// A transition was asked of a page in a state that does not allow it.
    #[error("page {ppn} is {found}; expected {expected}")]
    WrongState {
        /// The page.
        ppn: u32,
        /// Its state.
        found: &'static str,
        /// The states the transition starts from.
        expected: &'static str,
    },
    /// A page that a device is using was to be moved or taken away.
    #[error("page {ppn} is pinned: a device is using it")]
    Pinned {
        /// The page.
        ppn: u32,
    },
    /// A machine page that is not free was asked for.
    #[error("machine page {mpn} is not free")]
    PageNotFree {
        /// The page.
        mpn: u32,
    },
    /// No virtual machine of that name is powered on.
    #[error("no VM {name:?} is powered on")]
    UnknownVm {
        /// The name.
        name: String,
    },
    /// The virtual machine that a handle stood for is powered off.
    #[error("VM {name:?} of this handle is powered off")]
    HandleOfNone {
        /// Its name.
        name: String,
    },
    /// A virtual machine of that name is powered on already.
    #[error("a VM {name:?} is powered on already")]
    DuplicateVm {
        /// The name.
        name: String,
    },
    /// As many virtual machines as a host can have are powered on.
    #[error("{limit} VMs are powered on, as many as a host can have")]
    TooManyVms {
        /// The most.
        limit: u32,
    },
    /// More contents than the virtual machine has pages.
    #[error("contents of {given} pages do not fit into VM {vm:?} of {pages} pages")]
    ContentsTooLong {
        /// Name of the virtual machine.
        vm: String,
        /// Pages given.
        given: usize,
        /// Pages it has.
        pages: u32,
    },
    /// Contents of the kind that this host does not hold.
    #[error("the host holds {host:?}, the contents given are {given:?}")]
    WrongContentKind {
        /// What the host holds.
        host: crate::types::ContentKind,
        /// What was given.
        given: crate::types::ContentKind,
    },
    /// A token that only the engine may make.
    #[error("token {token} of page {index} is out of range: expected 0 to 2**63 - 1")]
    TokenOutOfRange {
        /// Position in the batch.
        index: usize,
        /// The token.
        token: u64,
    },
    /// As many contents as pages are needed.
    #[error("{contents} contents are given for {pages} pages")]
    BatchMismatch {
        /// Contents given.
        contents: usize,
        /// Pages named.
        pages: usize,
    },
    /// A value of a policy's view, or a weight, that cannot be.
    #[error("{column} of VM {vm} is {value}; expected {expected}")]
    Column {
        /// Name of the column.
        column: &'static str,
        /// Row of the virtual machine.
        vm: usize,
        /// The value.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// A column with more or fewer rows than there are virtual machines.
    #[error("{column} has {rows} rows for {vms} VMs; expected one for each")]
    ColumnLength {
        /// Name of the column.
        column: &'static str,
        /// Its rows.
        rows: usize,
        /// Virtual machines.
        vms: usize,
    },
    /// What is guaranteed to all virtual machines together is more than there is (§6.2).
    #[error("the VMs' min_pages add up to {min_pages} but {available_pages} pages are available")]
    MinOvercommitted {
        /// Sum of all min.
        min_pages: u64,
        /// Pages there are for all of them.
        available_pages: u64,
    },
    /// A policy's target below a virtual machine's min or above its max.
    #[error("the target of VM {vm:?} is {target} pages; expected {min_pages} to {max_pages}")]
    TargetOutOfRange {
        /// Name of the virtual machine.
        vm: String,
        /// The target.
        target: i64,
        /// Its min.
        min_pages: u32,
        /// Its max.
        max_pages: u32,
    },
    /// A policy's targets together are more than there is.
    #[error("the targets add up to {target_pages} but {available_pages} pages are available")]
    TargetsOvercommitted {
        /// Sum of all targets.
        target_pages: u64,
        /// Pages there are for all virtual machines.
        available_pages: u64,
    },
    /// Less machine memory is unreserved than a virtual machine must be promised (§6.2).
    #[error(
        "VM {vm:?} wants {} pages of memory reserved (min {min_pages} + overhead {overhead_pages}) but \
         {unreserved_pages} are unreserved",
        u64::from(*min_pages) + u64::from(*overhead_pages)
    )]
    MemoryReserved {
        /// Name of the virtual machine.
        vm: String,
        /// Its min.
        min_pages: u32,
        /// Its overhead.
        overhead_pages: u32,
        /// Pages of memory that no other has reserved.
        unreserved_pages: u64,
    },
    /// Less swap space is unreserved than a virtual machine must be promised (§6.2).
    #[error(
        "VM {vm:?} wants {} pages of swap space reserved (size {pages} - min {min_pages}) but {unreserved_pages} are \
         unreserved",
        pages.saturating_sub(*min_pages)
    )]
    SwapReserved {
        /// Name of the virtual machine.
        vm: String,
        /// Its "physical" size.
        pages: u32,
        /// Its min.
        min_pages: u32,
        /// Pages of swap space that no other has reserved.
        unreserved_pages: u64,
    },
    /// A setting outside its range.
    #[error("{what} is {value}; expected {expected}")]
    Setting {
        /// Name of the setting.
        what: &'static str,
        /// Its value.
        value: String,
        /// The range.
        expected: String,
    },
    /// A record of a file, or of data that somebody gave, that cannot be; records are counted from 1.
    #[error("{file}:{record}: {problem}")]
    Data {
        /// Name of the file or of the data.
        file: String,
        /// Line or record.
        record: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The operating system did not give the memory that the simulated machine needs.
    #[error("the operating system refused {bytes} bytes of memory: {reason}")]
    NoMemory {
        /// Bytes asked for.
        bytes: usize,
        /// What it said.
        reason: String,
    },
    /// A question to a ledger that records nothing.
    #[error("the ledger is off: no decision is recorded")]
    LedgerOff,
    /// A question about a time that the ledger has forgotten.
    #[error(
        "of {} s nothing is recorded any more: the ledger begins at {} s",
        seconds(*asked_ns),
        seconds(*oldest_ns)
    )]
    Forgotten {
        /// The time asked about.
        asked_ns: u64,
        /// The earliest time of which anything is known.
        oldest_ns: u64,
    },
    /// A question about a virtual machine at a time when it was not powered on.
    #[error("no VM with serial {serial} was powered on at {} s", seconds(*asked_ns))]
    NotThen {
        /// Its serial.
        serial: u64,
        /// The time asked about.
        asked_ns: u64,
    },
    /// The same, by its name.
    #[error("no VM {vm:?} was powered on at {} s", seconds(*asked_ns))]
    NobodyThen {
        /// The name.
        vm: String,
        /// The time asked about.
        asked_ns: u64,
    },
    /// The same, by the name of one that is powered on by now.
    #[error("VM {vm:?} was not powered on yet at {} s", seconds(*asked_ns))]
    NotYet {
        /// Its name.
        vm: String,
        /// The time asked about.
        asked_ns: u64,
    },
    /// The caller ended a long call.
    #[error("interrupted")]
    Interrupted,
    /// An audit found the state contradicting itself.
    #[error("{invariant}: {fact}")]
    Invariant {
        /// Number of the invariant in docs/design.md section 8.
        invariant: &'static str,
        /// What was found, with numbers.
        fact: String,
    },
}

/// Virtual time for people to read.
fn seconds(time_ns: u64) -> f64 {
    time_ns as f64 / 1e9
}
