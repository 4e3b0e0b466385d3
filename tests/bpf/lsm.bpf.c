// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* A security hook, which lets everything pass: not every kernel has them. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

__u64 calls;

SEC("lsm/file_open")
int on_open(void *ctx)
{
	__sync_fetch_and_add(&calls, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
