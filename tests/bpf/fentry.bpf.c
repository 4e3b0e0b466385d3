// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* A kernel function by trampoline: not every kernel has them. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

__u64 calls;
__u64 returns;

SEC("fentry/vfs_read")
int on_entry(void *ctx)
{
	__sync_fetch_and_add(&calls, 1);
	return 0;
}

SEC("fexit/vfs_read")
int on_exit(void *ctx)
{
	__sync_fetch_and_add(&returns, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
