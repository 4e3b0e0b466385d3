// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/*
 * exec-events: a record for every program that starts on the host.
 *
 * Ids are those of the initial namespaces, whatever container the process is in.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct exec_event {
	/* CLOCK_MONOTONIC. */
	__u64 ts_ns;
	/* Of the process. exec ends all its threads but the one that becomes the first. */
	__u32 pid;
	__u32 uid;
	/* NUL-terminated, NUL to the end. */
	char comm[16];
	/* As given to exec, so it may be relative; cut to 255 bytes. NUL-terminated, NUL to the end. */
	char filename[256];
};

/* What the tracepoint passes: /sys/kernel/tracing/events/sched/sched_process_exec/format. */
struct sched_process_exec {
	__u64 common;
	/* Offset from the start of this in the low half, length in the high half. */
	__u32 filename_loc;
	__s32 pid;
	__s32 old_pid;
};

/* Of struct exec_event; about 900 fit. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

/* Records that did not fit because nobody had read the ring. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

/* A function of its own because BTF has only types that globals or functions name. */
static __noinline void describe(struct exec_event *event, struct sched_process_exec *ctx)
{
	/* The ring's memory still holds older records. */
	__builtin_memset(event, 0, sizeof(*event));
	event->ts_ns = bpf_ktime_get_ns();
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_probe_read_kernel_str(event->filename, sizeof(event->filename),
				  (void *)ctx + (ctx->filename_loc & 0xffff));
}

SEC("tp/sched/sched_process_exec")
int record_exec(struct sched_process_exec *ctx)
{
	struct exec_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (!event) {
		const __u32 only = 0;
		__u64 *records = bpf_map_lookup_elem(&lost, &only);

		if (records)
			(*records)++;
		return 0;
	}
	describe(event, ctx);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
