SEC("socket1")
int count_sent(struct __sk_buff *skb)
{
	int index = load_byte(skb, ETH_HLEN + offsetof(struct iphdr, protocol));
	long *bytes;

	if (skb->pkt_type != PACKET_OUTGOING)
		return 0;
	bytes = bpf_map_lookup_elem(&sent, &index);
	if (bytes)
		__sync_fetch_and_add(bytes, skb->len);
	return 0;
}

char _license[] SEC("license") = "GPL";
