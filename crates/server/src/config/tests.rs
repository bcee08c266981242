use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Command, FromArgMatches};
use starling_gossip::Preset;
use starling_ring::Zone;
use starling_types::ClusterId;

use super::keys::{KEYS, Key, SECTIONS, find};
use super::{ConfigError, Overrides, Settings};

/// Loads `text` as a file; errors with the file's name in place of its path.
fn load(text: &str, env: &[(&str, &str)], flags: &[&str]) -> Result<Settings, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    std::fs::write(&path, text).unwrap();
    let env = env.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let anonymous = |error: ConfigError| error.to_string().replace(path.to_str().unwrap(), "node.toml");
    Settings::load(Some(&path), env, overrides(flags)).map_err(anonymous)
}

fn overrides(flags: &[&str]) -> Overrides {
    let command = Overrides::augment_args(Command::new("node").no_binary_name(true));
    Overrides::from_arg_matches(&command.get_matches_from(flags)).unwrap()
}

fn from_file(text: &str) -> Result<Settings, String> {
    load(text, &[], &[])
}

fn refused(text: &str) -> String {
    from_file(text).expect_err(text)
}

fn refused_variable(name: &str, value: &str) -> String {
    load("", &[(name, value)], &[]).expect_err(name)
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config").join(name)
}

#[test]
fn nothing_set_is_the_default() {
    let settings = Settings::load(None, [], Overrides::default()).unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(from_file(""), Ok(Settings::default()));
}

#[test]
fn every_default_keeps_its_own_rule() {
    let text = Settings::default().annotated();
    assert_eq!(from_file(&text), Ok(Settings::default()));
}

#[test]
fn flags_win_over_variables_over_file_over_default() {
    let file = "[node]\nname = 'file'\nzone = 'file'\nweight = 2\n";
    let env = [("STARLING_NODE_NAME", "env"), ("STARLING_NODE_ZONE", "env")];
    let node = load(file, &env, &["--name", "flag"]).unwrap().node;
    assert_eq!((node.name.as_str(), node.zone.as_str(), node.weight), ("flag", "env", 2));
    assert_eq!(node.data, Settings::default().node.data);
}

#[test]
fn every_key_can_be_set_in_the_file_and_by_its_variable() {
    for key in KEYS {
        let value = other_value(&key.path());
        let line = format!("[{}]\n{} = {value}\n{}", key.section, key.name, company(&key.path()));
        let by_file = from_file(&line).unwrap();
        assert_ne!(by_file, Settings::default(), "{line}");
        let bare = value.trim_matches('"');
        let by_variable =
            load(&format!("[{}]\n{}", key.section, company(&key.path())), &[(&key.variable(), bare)], &[]);
        assert_eq!(by_variable, Ok(by_file), "{}", key.variable());
    }
}

/// A value in TOML that is allowed and not the default.
fn other_value(path: &str) -> &'static str {
    match path {
        "node.weight" | "limits.max_connections" | "limits.max_pipeline" | "limits.max_in_flight" => "7",
        "listen.advertise" => "\"192.0.2.7:7201\"",
        "cluster.seeds" => "\"n1.example:7201,192.0.2.7:7201\"",
        "listen.resp" | "listen.http" | "listen.quic" => "\"[::1]:0\"",
        "cluster.cluster_id" => "\"000000000000000000000000000000ab\"",
        "gossip.preset" => "\"wan\"",
        "storage.sync" => "\"interval 50\"",
        "storage.memory_limit" | "storage.disk_reserve" | "storage.scrub_rate" => "\"64MiB\"",
        "telemetry.log" => "\"warn,starling_node=debug\"",
        "listen.http_hosts" => "\"starling.example,n1.lan\"",
        "node.name" | "node.data" | "node.zone" | "tls.dir" => "\"other\"",
        bytes => {
            assert!(bytes.contains("bytes") || bytes == "limits.max_value", "{bytes}");
            "\"9MiB\""
        }
    }
}

/// The other settings that must stand beside a key.
fn company(path: &str) -> &'static str {
    match path {
        "limits.max_in_flight_bytes" => "max_value = 1024\n",
        _ => "",
    }
}

#[test]
fn every_flag_sets_its_own_key() {
    let mut expected = Settings::default();
    expected.node.name = "n9".into();
    expected.node.data = "d".into();
    expected.node.zone = Zone::new("z").unwrap();
    expected.listen.resp = "127.0.0.1:1".parse().unwrap();
    expected.listen.http = "127.0.0.1:2".parse().unwrap();
    expected.listen.quic = "0.0.0.0:3".parse().unwrap();
    expected.listen.advertise = Some("192.0.2.7:4".parse().unwrap());
    expected.cluster.seeds = vec!["n1:7201".parse().unwrap(), "[::1]:7".parse().unwrap()];
    expected.tls.dir = "t".into();
    expected.telemetry.log = "debug".into();
    let flags = "--name n9 --data d --zone z --resp 127.0.0.1:1 --http 127.0.0.1:2 --quic 0.0.0.0:3 \
                 --advertise 192.0.2.7:4 --seeds n1:7201,[::1]:7 --tls-dir t --log debug";
    let flags: Vec<&str> = flags.split(' ').collect();
    assert_eq!(load("", &[], &flags), Ok(expected));
    let in_the_table = KEYS.iter().filter(|key| key.flag.is_some()).count();
    assert_eq!(flags.len(), 2 * in_the_table, "a flag of the table is not tried here");
}

#[test]
fn of_flags_taken_in_turn_the_last_counts() {
    let mut flags = overrides(&["--name", "first", "--zone", "z"]);
    let command = Overrides::augment_args_for_update(Command::new("node").no_binary_name(true));
    flags.update_from_arg_matches(&command.get_matches_from(["--name", "last"])).unwrap();
    let node = Settings::load(None, [], flags).unwrap().node;
    assert_eq!((node.name.as_str(), node.zone.as_str()), ("last", "z"));
}

#[test]
fn values_arrive_as_they_were_meant() {
    let settings = from_file(
        "cluster.cluster_id = '000000000000000000000000000000ab'\ngossip.preset = 'calm'\n\
         [storage]\nmemory_limit = '2GiB'\nengine_cache_bytes = 0x200_0000\nrecord_cache_bytes = '1 GiB'\n",
    )
    .unwrap();
    assert_eq!(settings.cluster.cluster_id, Some(ClusterId::from_bits(0xab)));
    assert_eq!(settings.gossip.preset, Preset::Calm);
    assert_eq!(settings.storage.engine_cache_bytes, Some(32 << 20));
    assert_eq!(settings.storage.record_cache_bytes, Some(1 << 30));
}

#[test]
fn settings_of_memory_that_contradict_each_other_are_refused() {
    let small = "[storage]\nmemory_limit = '32MiB'\n";
    for (line, key) in [
        ("record_cache_bytes = '1TiB'\n", "storage.record_cache_bytes = 1TiB"),
        ("engine_cache_bytes = '1TiB'\n", "storage.engine_cache_bytes = 1TiB"),
        ("[limits]\nmax_value = '64MiB'\nmax_in_flight_bytes = '64MiB'\n", "limits.max_value = 64MiB"),
    ] {
        let why = refused(&format!("{small}{line}"));
        assert!(
            why.contains(key) && why.contains("storage.memory_limit = 32MiB (node.toml, line 2)"),
            "{why}"
        );
    }
    assert!(from_file(small).is_ok());
}

#[test]
fn a_value_that_is_not_allowed_says_where_what_and_what_is() {
    assert_eq!(
        refused("\n\n[limits]\nmax_value = '65MiB'\n"),
        "node.toml, line 4: limits.max_value = \"65MiB\" is not allowed: it must be a size from 1KiB to 64MiB: bytes, \
         or a whole number of KiB, MiB, GiB, TiB, as in \"64MiB\""
    );
    assert_eq!(
        refused("[node]\nweight = '2'\n"),
        "node.toml, line 2: node.weight = \"2\" is not allowed: it must be a whole number from 1 to 65536"
    );
    assert_eq!(
        refused_variable("STARLING_LISTEN_RESP", "7001"),
        "environment variable STARLING_LISTEN_RESP: listen.resp = \"7001\" is not allowed: it must be an IP address or a \
         host name that can be looked up, and a port, as in 127.0.0.1:7001, [::1]:7001 or n1.example:7001"
    );
    assert_eq!(
        load("", &[], &["--log", "loud"]).unwrap_err(),
        "flag --log: telemetry.log = \"loud\" is not allowed: it must be one of off, error, warn, info, debug, trace, or \
         such a level per module, as in info,starling_node=debug"
    );
}

#[test]
fn each_rule_refuses_what_it_should() {
    for (key, values) in [
        ("node.name", vec!["''", "'a\\nb'", "5", "true", "[]", "{}", "1.5"]),
        ("node.data", vec!["''"]),
        ("node.zone", vec!["''", "'a b'", "'ä'"]),
        ("node.weight", vec!["0", "-1", "65537", "1.0"]),
        ("listen.http", vec!["'local host:7101'", "'127.0.0.1'", "7101"]),
        ("listen.advertise", vec!["'0.0.0.0:7201'", "'[::]:7201'", "'192.0.2.7:0'", "''"]),
        ("cluster.cluster_id", vec!["'ab'", "'00000000000000000000000000000000'", "7"]),
        ("storage.sync", vec!["'never'", "'interval'", "'interval 0'", "'interval 5s'", "5"]),
        ("storage.engine_cache_bytes", vec!["0", "'1023KiB'", "'2TiB'", "'64MB'", "-5"]),
        ("limits.max_value", vec!["1023", "'64MiB '", "99999999999999999999"]),
        ("gossip.preset", vec!["'LAN'", "'fast'", "''"]),
        ("telemetry.log", vec!["''", "'info,'", "'=info'", "'a b=info'", "'starling_node='"]),
    ] {
        for value in values {
            let value = value.replace('\'', "\"");
            let error = refused(&format!("{key} = {value}"));
            assert!(error.starts_with("node.toml, line 1: "), "{key} = {value}: {error}");
            assert!(error.contains(key), "{key} = {value}: {error}");
        }
    }
}

#[test]
fn names_have_a_longest_length() {
    for key in ["node.name", "node.zone"] {
        assert!(from_file(&format!("{key} = '{}'", "z".repeat(64))).is_ok(), "{key}");
        assert!(from_file(&format!("{key} = '{}'", "z".repeat(65))).is_err(), "{key}");
    }
}

#[test]
fn an_overruled_value_must_be_allowed_all_the_same() {
    let error = load("listen.resp = 'x'", &[], &["--resp", "127.0.0.1:1"]).unwrap_err();
    assert!(error.starts_with("node.toml, line 1: listen.resp"), "{error}");
}

#[test]
fn what_does_not_exist_is_refused_with_the_nearest_name() {
    assert_eq!(
        refused("[node]\n[lissten]\nresp = 1\n"),
        "node.toml, line 2: there is no section [lissten] (did you mean listen?): the sections are node, listen, \
         cluster, storage, limits, gossip, tls, telemetry"
    );
    assert_eq!(
        refused("name = 'n1'"),
        "node.toml, line 1: there is no section [name] (did you mean node?): the sections are node, listen, cluster, \
         storage, limits, gossip, tls, telemetry"
    );
    assert_eq!(
        refused("[listen]\nrepl = 1\n"),
        "node.toml, line 2: there is no key listen.repl (did you mean resp?): the keys of [listen] are resp, http, \
         http_hosts, quic, advertise"
    );
    assert_eq!(
        refused("node = 'n1'"),
        "node.toml, line 1: node is a section: write [node] and its keys below it (name, data, zone, weight)"
    );
}

#[test]
fn variables_that_nothing_reads_are_told_and_change_nothing() {
    // The first three as Kubernetes makes them for a service that is called `starling`.
    let names = [
        "STARLING_SERVICE_HOST",
        "STARLING_PORT",
        "STARLING_PORT_7001_TCP",
        "STARLING_LISTEN_RSEP",
        "STARLING_AT",
        "STARLING_NODE_NAME",
        "PATH",
    ];
    let words = Settings::foreign(names.map(str::to_owned));
    assert_eq!(
        words,
        [
            "environment variable STARLING_LISTEN_RSEP: nothing reads it (did you mean STARLING_LISTEN_RESP?)",
            "environment variable STARLING_PORT: nothing reads it",
            "environment variable STARLING_PORT_7001_TCP: nothing reads it",
            "environment variable STARLING_SERVICE_HOST: nothing reads it",
        ]
    );
    let env = names.map(|name| (name, "7"));
    assert_eq!(load("", &env, &[]).unwrap().node.name, "7", "the one that is read");
}

#[test]
fn variables_of_others_are_passed_over() {
    let env = [("STARLING_AT", "x"), ("STARLING_TLS", "x"), ("PATH", "x"), ("MY_STARLING_X", "x")];
    assert_eq!(load("", &env, &[]), Ok(Settings::default()));
}

#[test]
fn broken_toml_says_its_line() {
    let error = refused("[node]\nname = 'n1'\nname = 'n2'\n");
    assert!(error.starts_with("node.toml, line 3: this is not TOML (duplicate key"), "{error}");
    let error = refused("[node]\n\nname = n1\n");
    assert!(error.starts_with("node.toml, line 3: this is not TOML ("), "{error}");
}

#[test]
fn a_missing_file_says_its_name() {
    let missing = Settings::load(Some(Path::new("no/such.toml")), [], Overrides::default());
    let error = missing.unwrap_err().to_string();
    assert!(error.starts_with("the configuration file no/such.toml cannot be read ("), "{error}");
}

#[test]
fn an_unspecified_quic_address_needs_one_to_advertise() {
    assert_eq!(
        refused("[listen]\n\nquic = '0.0.0.0:7201'\n"),
        "node.toml, line 3: listen.quic = 0.0.0.0:7201 is not allowed: it names no address that others can reach: set \
         listen.advertise (STARLING_LISTEN_ADVERTISE, --advertise) to one"
    );
    let both = "listen.quic = '[::]:7201'\nlisten.advertise = '192.0.2.7:7201'\n";
    assert!(from_file(both).is_ok());
}

#[test]
fn two_tcp_doors_cannot_share_a_port() {
    let error = refused("listen.resp = '0.0.0.0:7101'");
    assert_eq!(
        error,
        "by default: listen.http = 127.0.0.1:7101 is not allowed: listen.resp = 0.0.0.0:7101 is there already: choose \
         another port"
    );
    assert!(from_file("listen.resp = '127.0.0.2:7101'").is_ok());
    assert!(from_file("listen.resp = '127.0.0.1:0'\nlisten.http = '127.0.0.1:0'").is_ok());
    assert!(from_file("listen.quic = '127.0.0.1:7101'").is_ok(), "UDP and TCP ports are apart");
}

#[test]
fn the_largest_value_must_fit_in_flight() {
    let error =
        load("[limits]\nmax_value = '4MiB'\n", &[("STARLING_LIMITS_MAX_IN_FLIGHT_BYTES", "3MiB")], &[]);
    assert_eq!(
        error.unwrap_err(),
        "environment variable STARLING_LIMITS_MAX_IN_FLIGHT_BYTES: limits.max_in_flight_bytes = 3MiB is not allowed: it \
         must be at least limits.max_value = 4MiB (node.toml, line 2)"
    );
}

#[test]
fn the_table_is_sound() {
    let order: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
    let sections: Vec<&str> = SECTIONS.iter().map(|(section, _)| *section).collect();
    let mut seen = order.clone();
    seen.dedup();
    assert_eq!(seen, sections, "sections in order, none empty");
    let paths: BTreeSet<String> = KEYS.iter().map(Key::path).collect();
    assert_eq!(paths.len(), KEYS.len(), "no key twice");
    for key in KEYS {
        assert!(key.meaning.ends_with('.') && key.choose.ends_with('.'), "{}", key.path());
    }
}

#[test]
fn a_list_is_an_array_or_text_with_commas() {
    let array = from_file("cluster.seeds = ['n1:7201', '[::1]:7']").unwrap();
    assert_eq!(array, from_file("cluster.seeds = 'n1:7201, [::1]:7'").unwrap());
    assert_eq!(from_file(&array.annotated()), Ok(array));
    assert_eq!(from_file("cluster.seeds = []").unwrap(), Settings::default());
    for bad in ["[7]", "['n1']", "['n1:0']", "['0.0.0.0:7201']", "[['n1:7201']]", "'n1'"] {
        assert!(refused(&format!("[cluster]\nseeds = {bad}\n")).contains("cluster.seeds"), "{bad}");
    }
}

#[test]
fn what_is_shown_has_a_unit_and_can_be_read_back() {
    let settings = from_file("limits.max_value = 1000000").unwrap();
    let key = find("limits", "max_value").unwrap();
    let shown = [&settings, &Settings::default()].map(|settings| key.show(settings).unwrap());
    assert_eq!(shown, ["\"1000000B\"", "\"8MiB\""]);
    let odd = from_file("node.name = \"a\\\"b\"").unwrap();
    assert_eq!(from_file(&odd.annotated()), Ok(odd));
}

/// To write the file anew after a change of the table, run this test with `UPDATE_CONFIG=1`.
#[test]
fn the_shipped_file_is_the_table() {
    let path = shipped("starling.toml");
    let expected = Settings::default().annotated();
    if std::env::var_os("UPDATE_CONFIG").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, expected, "config/starling.toml is behind the table of keys: run with UPDATE_CONFIG=1");
    let loaded = Settings::load(Some(&path), [], Overrides::default()).unwrap();
    assert_eq!(loaded, Settings::default());
    for key in KEYS {
        assert!(
            text.contains(&format!("{} = ", key.name)) && text.contains(&key.variable()),
            "{}",
            key.path()
        );
    }
}

#[test]
fn the_shipped_nodes_live_side_by_side_on_one_host() {
    let nodes: Vec<Settings> = (1..=3)
        .map(|k| shipped(&format!("node{k}.toml")))
        .map(|path| Settings::load(Some(&path), [], Overrides::default()).unwrap())
        .collect();
    for (k, node) in (1..).zip(&nodes) {
        let ports = [node.listen.resp, node.listen.http, node.listen.quic].map(|a| a.port());
        assert_eq!(ports, [7000 + k, 7100 + k, 7200 + k]);
        assert_eq!(node.node.name, format!("n{k}"));
        assert_eq!(node.tls, nodes[0].tls, "one authority");
    }
    let homes: BTreeSet<_> = nodes.iter().map(|node| &node.node.data).collect();
    assert_eq!(homes.len(), 3, "a data directory each");
}
