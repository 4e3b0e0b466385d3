//! `perf_event_open(2)`, which tracepoints, probes and sampled events are attached through.

use std::ffi::CStr;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

/// An event to open.
#[derive(Debug, Clone, Copy)]
pub enum PerfEvent<'a> {
    /// A tracepoint, by its id in tracefs.
    Tracepoint(u64),
    /// A kernel or user probe, of the dynamic PMU with this number.
    Probe {
        /// From `/sys/bus/event_source/devices/{kprobe,uprobe}/type`.
        pmu: u32,
        /// Bits of `config`: the return probe's.
        config: u64,
        /// The kernel symbol or the path of the file.
        target: &'a CStr,
        /// From the symbol, or into the file.
        offset: u64,
        /// Only this process.
        pid: Option<i32>,
    },
    /// A hardware or software event, sampled on one CPU.
    Sampled {
        /// `enum perf_type_id`.
        kind: u32,
        /// Which one.
        config: u64,
        /// Events from sample to sample, or samples a second.
        rate: u64,
        /// `rate` is a frequency.
        frequency: bool,
        /// Which CPU.
        cpu: i32,
    },
    /// What programs write into a perf buffer on one CPU, with the time of `CLOCK_MONOTONIC`. A
    /// read(2) of it gives two numbers: nothing of interest, and how many had no room so far.
    Output {
        /// Which CPU.
        cpu: i32,
    },
}

/// `PERF_ATTR_SIZE_VER3`, up to `clockid`.
#[derive(Debug, Default)]
#[repr(C)]
struct EventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample: u64,
    sample_type: u64,
    read_format: u64,
    bits: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
    config2: u64,
    branch_sample_type: u64,
    sample_regs_user: u64,
    sample_stack_user: u32,
    clockid: i32,
}

/// Opens an event.
pub fn perf_event_open(event: PerfEvent<'_>) -> io::Result<OwnedFd> {
    const TRACEPOINT: u32 = 2;
    const FREQUENCY_BIT: u64 = 1 << 10;
    const USE_CLOCKID_BIT: u64 = 1 << 25;
    const SOFTWARE: u32 = 1;
    const BPF_OUTPUT: u64 = 10;
    const SAMPLE_TIME: u64 = 1 << 2;
    const SAMPLE_RAW: u64 = 1 << 10;
    const FORMAT_LOST: u64 = 1 << 4;
    const FD_CLOEXEC: libc::c_ulong = 1 << 3;
    let size = u32::try_from(size_of::<EventAttr>()).expect("it is small");
    let mut attr = EventAttr { size, ..EventAttr::default() };
    // A probe or tracepoint fires on every CPU, whichever the event was opened for.
    let (mut pid, mut cpu) = (-1, 0);
    match event {
        PerfEvent::Tracepoint(id) => {
            (attr.kind, attr.config, attr.sample) = (TRACEPOINT, id, 1);
        }
        PerfEvent::Probe { pmu, config, target, offset, pid: only } => {
            (attr.kind, attr.config) = (pmu, config);
            (attr.config1, attr.config2) = (target.as_ptr() as u64, offset);
            if let Some(only) = only {
                (pid, cpu) = (only, -1);
            }
        }
        PerfEvent::Sampled { kind, config, rate, frequency, cpu: on } => {
            (attr.kind, attr.config, attr.sample) = (kind, config, rate);
            attr.bits = if frequency { FREQUENCY_BIT } else { 0 };
            cpu = on;
        }
        PerfEvent::Output { cpu: on } => {
            (attr.kind, attr.config, attr.sample) = (SOFTWARE, BPF_OUTPUT, 1);
            (attr.sample_type, attr.wakeup_events) = (SAMPLE_TIME | SAMPLE_RAW, 1);
            attr.read_format = FORMAT_LOST;
            (attr.bits, attr.clockid) = (USE_CLOCKID_BIT, libc::CLOCK_MONOTONIC);
            cpu = on;
        }
    }
    // SAFETY: the kernel reads `size` bytes of the block and, for a probe, a text that ends with
    // a NUL.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const attr, pid, cpu, -1, FD_CLOEXEC)
    };
    match i32::try_from(fd) {
        // SAFETY: on success the call returns a new descriptor that nobody else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
