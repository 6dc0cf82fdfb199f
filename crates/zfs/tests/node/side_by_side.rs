//! The same sequences on OpenZFS and on the fake, step by step.

use std::fmt::Write;

use anyhow::Context;
use dotmesh_zfs::cmd::HostCommand;
use dotmesh_zfs::contract::Findings;
use dotmesh_zfs::{FakeZfs, PoolName, ZfsCli};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::generated::around::FakeAround;
use crate::generated::known::known;
use crate::generated::operation::Operation;
use crate::generated::strategy::sequence;
use crate::generated::world::{Answer, World};
use crate::host::Host;

/// Operations of one generated sequence: each has a pool of its own, which costs as much as some of them.
const LENGTH: usize = 20;
/// How often a sequence with a difference is run again to find a shorter one.
const SHRINKS: usize = 40;

/// Where the two answered differently.
struct Difference(String);

fn tell(operations: &[Operation], found: &Answer, wanted: &Answer) -> Difference {
    let mut text = String::new();
    for operation in operations {
        let _ = write!(text, "\n    {operation:?},");
    }
    let list = |text: &mut String, who: &str, answer: &Answer| {
        let _ = write!(text, "\n  {who} answers to the last:");
        for line in answer {
            let _ = write!(text, "\n    {line}");
        }
        if answer.is_empty() {
            text.push_str("\n    done");
        }
    };
    list(&mut text, "OpenZFS", found);
    list(&mut text, "the fake", wanted);
    Difference(text)
}

/// Runs pools one after the other in a folder.
struct Runs {
    runtime: tokio::runtime::Runtime,
    count: usize,
    compared: usize,
}

impl Runs {
    /// Runs a sequence on both; the answer tells where they differed, if they did.
    fn compare(&mut self, operations: &[Operation]) -> anyhow::Result<Option<Difference>> {
        self.count += 1;
        let pool: PoolName = format!("zfs-generated-{}", self.count).parse()?;
        let folder = std::env::temp_dir().join(format!("{pool}-{}", std::process::id()));
        let (host, zfs) = (Host::new(folder, &pool)?, ZfsCli::new(HostCommand::new(None)));
        let fake = FakeZfs::new();
        let around = FakeAround::new(&fake);
        self.runtime.block_on(async {
            let mut real = World::new(&zfs, &host, pool.clone()).await?;
            let mut model = World::new(&fake, &around, pool.clone()).await?;
            let mut difference = None;
            for (index, operation) in operations.iter().enumerate() {
                let (found, wanted) = (real.perform(operation).await, model.perform(operation).await);
                self.compared += 1;
                if found != wanted {
                    difference = Some(tell(&operations[..=index], &found, &wanted));
                    break;
                }
            }
            if difference.is_none() && !real.is_exported() {
                let (found, wanted) = (real.survey().await, model.survey().await);
                self.compared += 1;
                difference = (found != wanted).then(|| tell(operations, &found, &wanted));
            }
            real.leave();
            model.leave();
            Ok(difference)
        })
    }

    /// Runs generated sequences until so many operations were compared.
    fn generated(&mut self, findings: &mut Findings, operations: u64, seed: u64) -> anyhow::Result<()> {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let enough = self.compared + usize::try_from(operations)?;
        while self.compared < enough {
            let tree = sequence(LENGTH).new_tree(&mut runner);
            let mut tree = tree.ok().context("no sequence")?;
            if let Some(difference) = self.compare(&tree.current())? {
                let Difference(text) = self.shrink(&mut tree, difference)?;
                findings
                    .violations
                    .push(format!("a sequence of seed {seed} has another answer:{text}"));
            }
        }
        Ok(())
    }

    /// Looks for a shorter sequence with a difference, for a while.
    fn shrink(
        &mut self,
        tree: &mut impl ValueTree<Value = Vec<Operation>>,
        mut smallest: Difference,
    ) -> anyhow::Result<Difference> {
        let mut simpler = tree.simplify();
        for _ in 0..SHRINKS {
            if !simpler {
                break;
            }
            simpler = match self.compare(&tree.current())? {
                Some(difference) => {
                    smallest = difference;
                    tree.simplify()
                }
                None => tree.complicate(),
            };
        }
        Ok(smallest)
    }
}

/// Compares the known sequences, then about so many operations of generated ones.
pub(crate) fn run(findings: &mut Findings, operations: u64, seed: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut runs = Runs {
        runtime,
        count: 0,
        compared: 0,
    };
    for (about, operations) in known() {
        if let Some(Difference(text)) = runs.compare(&operations)? {
            findings
                .violations
                .push(format!("\"{about}\" has another answer:{text}"));
        }
    }
    runs.generated(findings, operations, seed)?;
    findings.tried += runs.compared;
    println!(
        "{} operations of {} sequences were compared with the fake, seed {seed}",
        runs.compared, runs.count
    );
    Ok(())
}
