// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/*
 * Records on demand: every getppid(2) of one thread writes a burst of them, numbered from 0, into
 * a ring buffer or a perf buffer.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

/* Only threads of this name. */
const volatile char watched[16] = "";
/* Records for each call. */
const volatile __u32 burst = 1;
/* Every so many is thrown away once it has been written; 0 for none. */
const volatile __u32 discard_each = 0;
/* Record n has as many bytes as an event, less or more by (n % 8 - 4) times this. */
const volatile __u32 vary = 0;
/* BPF_RB_NO_WAKEUP: the reader gets no sign. */
const volatile __u64 flags = 0;

struct event {
	__u64 number;
	__u32 pid;
	/* number % 4 */
	__u32 kind;
	char comm[16];
};

/* A type that no map names. */
struct other_event {
	__u32 low;
	__u32 high;
};
struct other_event other;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
	__type(value, struct event);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} perf SEC(".maps");

enum count {
	WRITTEN,
	DISCARDED,
	REFUSED,
	COUNTS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

/* The number of the next record. */
__u64 next;

static __always_inline void count(__u32 what)
{
	__u64 *counter = bpf_map_lookup_elem(&counts, &what);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}

static __always_inline int is_watched(void)
{
	char comm[16];

	if (!watched[0] || bpf_get_current_comm(comm, sizeof(comm)))
		return 0;
	for (int i = 0; i < 16; i++) {
		if (comm[i] != watched[i])
			return 0;
		if (!comm[i])
			break;
	}
	return 1;
}

static __always_inline void fill(struct event *event)
{
	event->number = __sync_fetch_and_add(&next, 1);
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->kind = event->number % 4;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
}

/* Copies a record of another length. */
static __always_inline void write_varied(void)
{
	struct {
		struct event event;
		char more[32];
	} room = {};
	__u32 size;

	fill(&room.event);
	size = sizeof(struct event) - 4 * vary + (room.event.number % 8) * vary;
	if (size > sizeof(room))
		size = sizeof(room);
	count(bpf_ringbuf_output(&ring, &room, size, flags) ? REFUSED : WRITTEN);
}

static __always_inline void write_plain(void)
{
	struct event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);

	if (!event) {
		count(REFUSED);
		return;
	}
	fill(event);
	if (discard_each && event->number % discard_each == 0) {
		count(DISCARDED);
		bpf_ringbuf_discard(event, flags);
	} else {
		count(WRITTEN);
		bpf_ringbuf_submit(event, flags);
	}
}

SEC("tp/syscalls/sys_enter_getppid")
int to_ring(void *ctx)
{
	if (!is_watched())
		return 0;
	for (__u32 i = 0; i < 512 && i < burst; i++) {
		if (vary)
			write_varied();
		else
			write_plain();
	}
	return 0;
}

SEC("tp/syscalls/sys_enter_getppid")
int to_perf(void *ctx)
{
	struct event event = {};

	if (!is_watched())
		return 0;
	for (__u32 i = 0; i < 512 && i < burst; i++) {
		fill(&event);
		/* A full buffer is no error here; its reader is told. */
		count(bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &event, sizeof(event))
			      ? REFUSED : WRITTEN);
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
