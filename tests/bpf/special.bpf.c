// SPDX-License-Identifier: (MIT OR Apache-2.0) OR GPL-2.0-only
/* Maps that the kernel makes with BTF only: storage, and values with spin locks. No programs. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

/* Not in the header of Debian 12. */
#define BPF_MAP_TYPE_CGRP_STORAGE 32

#define STORAGE(kind)                                       \
	struct {                                            \
		__uint(type, BPF_MAP_TYPE_##kind##_STORAGE); \
		__uint(map_flags, BPF_F_NO_PREALLOC);       \
		__type(key, int);                           \
		__type(value, __u64);                       \
	}

STORAGE(SK) sk_storage SEC(".maps");
STORAGE(INODE) inode_storage SEC(".maps");
STORAGE(TASK) task_storage SEC(".maps");
STORAGE(CGRP) cgrp_storage SEC(".maps");

/* Large enough that a copy of it is easily interrupted. */
struct guarded {
	__u64 before;
	struct bpf_spin_lock lock;
	__u32 middle;
	__u64 words[1022];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct guarded);
} locked_array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct guarded);
} locked_hash SEC(".maps");

char LICENSE[] SEC("license") = "Dual MIT/GPL";
