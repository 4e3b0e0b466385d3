//! Objects as the kernel's samples were written before libbpf had rules for them.

use bpfgate_tests::calls::{attach, header, number, try_load};
use bpfgate_tests::frames::UDP;
use bpfgate_tests::targets::socket;
use bpfgate_tests::{Agent, binaries, elf, run};

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_of_the_first_sample_load_and_count_on_lo() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for (name, object) in [("old", elf::SOCKEX_OLD), ("btf", elf::SOCKEX_BTF)] {
        let loaded = try_load(&client, header(name), object).await.unwrap();
        let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
        assert!(
            warning.contains("\"socket1\"") && warning.contains("SEC(\"socket\")"),
            "{warning}"
        );
        let program = &loaded.object.unwrap().programs[0];
        assert_eq!(
            (program.section.as_str(), program.r#type.as_str()),
            ("socket1", "socket_filter")
        );

        let link = attach(&client, &format!("{name}/count_sent"), socket("lo")).await;
        let mut sender = agent.netns().command(binaries::traffic());
        let sent = run(sender.args(["udp", "--count", "20", "--payload", "100"])).ok().json();
        let map = format!("{name}/sent");
        assert_eq!(number(&client, &map, u32::from(UDP)).await, sent["bytes"].as_u64().unwrap());
        client.links().detach(link).await.unwrap();
        client.objects().unload(name).await.unwrap();
    }
    agent.assert_only_baseline();
    agent.stop();
}
