// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/*
 * More records than anybody reads, for the benchmark: every getppid(2) of one process writes a
 * burst of them, numbered from 0.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

/* Only this one, by its id in the initial namespace; one thread of it. */
const volatile __u32 process = 0;
/* Records for each call. */
const volatile __u32 burst = 1;

struct event {
	__u64 number;
	__u64 filling[3];
};

/* Room for the milliseconds in which a busy machine's scheduler lets the reader wait. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024);
	__type(value, struct event);
} ring SEC(".maps");

/* Bursts that the ring had no room for. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} cut_short SEC(".maps");

/* The number of the next record. */
__u64 next;

SEC("tp/syscalls/sys_enter_getppid")
int write_burst(void *ctx)
{
	__u32 first = 0;

	if (bpf_get_current_pid_tgid() >> 32 != process)
		return 0;
	for (__u32 i = 0; i < 512 && i < burst; i++) {
		struct event *event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);

		if (!event) {
			__u64 *cuts = bpf_map_lookup_elem(&cut_short, &first);

			if (cuts)
				(*cuts)++;
			return 0;
		}
		event->number = next++;
		bpf_ringbuf_submit(event, 0);
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
