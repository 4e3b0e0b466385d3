// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/*
 * exec-events: a record for every program that starts on the host.
 *
 * Ids are those of the initial namespaces, whatever container the process is in.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define TEXT 256

struct exec_event {
	/* CLOCK_MONOTONIC. */
	__u64 ts_ns __attribute__((btf_decl_tag("bpfgate:clock=monotonic")));
	/* Of the process. exec ends all its threads but the one that becomes the first. */
	__u32 pid;
	/* Of its parent. */
	__u32 ppid;
	__u32 uid;
	/* NUL-terminated, NUL to the end. */
	char comm[16];
	/*
	 * As given to exec, so it may be relative. Cut to 255 bytes and whole characters of UTF-8.
	 * NUL-terminated, NUL to the end.
	 */
	char filename[TEXT];
	/* The program's name for itself first, a space behind each but the last; cut likewise. */
	char args[TEXT];
};

/* What is read of the kernel's own: where it is, BTF tells when the object is loaded. */
struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
} __attribute__((preserve_access_index));

struct task_struct {
	struct task_struct *real_parent;
	int tgid;
	struct mm_struct *mm;
} __attribute__((preserve_access_index));

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
	__uint(max_entries, 512 * 1024);
} events SEC(".maps");

/* Records that did not fit because nobody had read the ring. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

/* Half a character at the end of a full text would make no text of all of it. */
static __always_inline void end_at_character(char *text)
{
	for (int i = TEXT - 2; i > TEXT - 6; i--) {
		__u8 byte = text[i];

		if (byte < 0x80)
			break;
		text[i] = 0;
		if (byte >= 0xc0)
			break;
	}
}

/* The kernel keeps them in the process's own memory, a NUL behind each. */
static __always_inline void copy_args(struct exec_event *event, struct task_struct *task)
{
	unsigned long start = BPF_CORE_READ(task, mm, arg_start);
	__u64 size = BPF_CORE_READ(task, mm, arg_end) - start;

	if (size > TEXT - 1)
		size = TEXT - 1;
	if (bpf_probe_read_user(event->args, size, (void *)start))
		return;
	/* Not the last one: it ends the text. */
	for (__u32 i = 0; i < TEXT - 1 && i + 1 < size; i++) {
		if (!event->args[i])
			event->args[i] = ' ';
	}
	end_at_character(event->args);
}

/* A function of its own because BTF has only types that globals or functions name. */
static __noinline void describe(struct exec_event *event, struct sched_process_exec *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	/* The ring's memory still holds older records. */
	__builtin_memset(event, 0, sizeof(*event));
	event->ts_ns = bpf_ktime_get_ns();
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->ppid = BPF_CORE_READ(task, real_parent, tgid);
	event->uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_probe_read_kernel_str(event->filename, sizeof(event->filename),
				  (void *)ctx + (ctx->filename_loc & 0xffff));
	end_at_character(event->filename);
	copy_args(event, task);
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
