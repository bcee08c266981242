#![allow(missing_docs, clippy::all, clippy::print_stdout)]
use starling_sim::{Options, run};
use std::collections::BTreeMap;
fn main() {
    let a: Vec<u64> = std::env::args().skip(1).map(|s| s.parse().unwrap()).collect();
    let (first, count) = (a[0], a[1]);
    let verbose = std::env::var("V").is_ok();
    let t = std::time::Instant::now();
    let work = |k: u64| {
        (first..first + count)
            .filter(|s| s % 2 == k)
            .map(|seed| (seed, std::panic::catch_unwind(|| run(seed, &Options::standard(seed)))))
            .collect::<Vec<_>>()
    };
    let all: Vec<_> = std::thread::scope(|s| {
        let h: Vec<_> = (0..2).map(|k| s.spawn(move || work(k))).collect();
        h.into_iter().flat_map(|h| h.join().unwrap()).collect()
    });
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by_key(|x| x.0);
    let mut kinds = BTreeMap::<String, (u32, u64)>::new();
    let mut red = vec![];
    for (seed, r) in &all {
        let Ok(r) = r else {
            println!("seed {seed} panicked");
            continue;
        };
        if r.is_clean() {
            continue;
        }
        red.push(*seed);
        for c in r.complaints() {
            let k: String = c
                .split_whitespace()
                .filter(|w| !w.chars().any(|c| c.is_ascii_digit()))
                .take(9)
                .collect::<Vec<_>>()
                .join(" ");
            kinds.entry(k).or_insert((0, *seed)).0 += 1;
        }
        if verbose {
            println!("{}", r.explain());
            if std::env::var("L").is_ok() {
                for l in &r.logs {
                    println!("LOG {l}");
                }
            }
        }
    }
    println!("red {} of {count}: {:?}", red.len(), red);
    for (k, (n, s)) in kinds {
        println!("{n:5} first {s:4}  {k}");
    }
    println!("{:?}", t.elapsed());
}
