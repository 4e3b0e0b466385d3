// What a libbpf user's object may hold: BTF maps of several kinds, a map of maps, global variables in
// every data section, calls across sections. No CO-RE: that costs the kernel's BTF each time.
#include <linux/bpf.h>
#include <stddef.h>
#include <bpf/bpf_helpers.h>

struct key {
	__u32 address;
	__u16 port;
	__u16 padding;
};

struct value {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, struct key);
	__type(value, struct value);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} shared SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 5000);
	__type(value, struct value);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} perf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_HASH);
		__uint(max_entries, 16);
		__type(key, __u32);
		__type(value, struct value);
	});
} outer SEC(".maps");

const volatile __u32 limit = 10;
const volatile char greeting[8] = "hello";
__u64 total;
__u64 start = 7;
static volatile __u16 hits;
__u32 tagged SEC(".data.tagged") = 3;

static __noinline __u64 add(__u64 a, __u64 b)
{
	return a * 3 + b;
}

__noinline __u64 twice(__u64 a)
{
	return add(a, a) + total;
}

static long each(void *map, struct key *key, struct value *value, void *context)
{
	total += value->bytes;
	return 0;
}

SEC("tcx/ingress")
int count(struct __sk_buff *skb)
{
	struct key key = { .address = 1, .port = tagged };
	struct value *value = bpf_map_lookup_elem(&flows, &key);

	if (value)
		__sync_fetch_and_add(&value->packets, limit);
	hits++;
	total += start;
	return twice(skb->len) & 1;
}

SEC("tc")
int walk(struct __sk_buff *skb)
{
	bpf_for_each_map_elem(&flows, each, NULL, 0);
	bpf_printk("%s %d", greeting, limit);
	bpf_trace_printk("walked", sizeof("walked"));
	return twice(total) & 1;
}

SEC("tc")
int second_in_section(struct __sk_buff *skb)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&shared, &key);

	return value ? add(*value, 1) & 1 : 0;
}

SEC("?tp/sched/sched_process_exec")
int on_exec(void *context)
{
	struct value *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

	if (event)
		bpf_ringbuf_submit(event, 0);
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
