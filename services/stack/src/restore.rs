//! `sealwrightd restore`: what to do with a directory that came back from a backup, before it is started.
//!
//! Each log is looked at, and everybody who may remember it is asked. What a mirror has more is fetched. Then somebody
//! outside vouches that nothing is missing, and the log goes on; or nobody does, and it is frozen at the size it has, so that
//! no index is given twice, and a successor takes what comes.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use sealwright_host::SharedClock;
use sealwright_log::{
    Inspection, Memory, Mirror, Remembered, Restore, freeze_at_rest, is_in_place, root_at_rest,
};

use crate::logs_at_rest::{LogAtRest, chosen, logs};
use crate::place::{Place, Share};

/// Which logs, and what is allowed.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The directory that was put back; nothing may run on it
    #[arg(long)]
    dir: PathBuf,
    /// This log alone
    #[arg(long, value_name = "NAME")]
    log: Option<String>,
    /// A copy of the log that may have more, beside the mirrors in the configuration: an https address, or a folder
    #[arg(long, value_name = "URL|DIR", requires = "log")]
    from_mirror: Vec<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Freeze the log even though somebody vouches for its size: when the one who vouches may be older than the last receipt
    #[arg(long)]
    freeze: bool,
    /// Base URL that the successor of a frozen log will have; for the words about what comes next
    #[arg(long, value_name = "URL", requires = "log")]
    url: Option<String>,
    /// Let the log go on although a mirror or a witness knows another or a larger tree. This forks the log: clients and
    /// monitors that compare will find it, and receipts beyond its end are void
    #[arg(long, requires = "log", conflicts_with_all = ["freeze", "from_mirror"])]
    i_accept_a_fork: bool,
}

/// Restores the logs of the instance, and tells on `out` what was found and done.
///
/// # Errors
/// A directory that is no instance or is in use; a log that can neither go on nor be frozen.
pub(crate) async fn restore(
    args: RestoreArgs,
    clock: SharedClock,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (kind, logs) = logs(&args.dir)?;
    let _place = Place::open(&args.dir, kind, Share::Whole)?;
    let mut failed = Vec::new();
    for log in chosen(logs, args.log.as_deref())? {
        writeln!(out, "{}:", log.name)?;
        if !log.is_own() {
            writeln!(
                out,
                "    it is not written here: there is nothing to restore"
            )?;
            continue;
        }
        let job = Job {
            args: &args,
            log: &log,
            clock: &clock,
        };
        if let Err(error) = job.run(out).await {
            writeln!(out, "    REFUSED: {error:#}")?;
            failed.push(log.name.clone());
        }
    }
    ensure!(
        failed.is_empty(),
        "not everything was restored: {}",
        failed.join(", ")
    );
    Ok(())
}

struct Job<'a> {
    args: &'a RestoreArgs,
    log: &'a LogAtRest,
    clock: &'a SharedClock,
}

impl Job<'_> {
    /// The whole story of one log.
    async fn run(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let restore = Restore::open(&self.log.dir)?;
        let memories = self.memories(&restore)?;
        let alone = memories.is_empty();
        let in_place = is_in_place(&self.log.dir) == Some(true);
        let mut inspection = restore.inspect(memories.clone()).await?;
        if self.gives_up(&restore, &inspection)? {
            restore.abandon().await?;
            writeln!(out, "    the restore that was begun is given up")?;
            inspection = restore.inspect(memories).await?;
        }
        tell(&inspection, out)?;
        if self.args.i_accept_a_fork {
            return self.accept(&restore, &inspection, out);
        }
        let (size, fetched) = match inspection.supply() {
            Some((mirror, signed)) => {
                restore
                    .require_extension(mirror, signed, &inspection.own)
                    .await?;
                if let Some((config, _)) = &self.log.section {
                    config.require_cosigned(&self.args.dir, signed)?;
                }
                let size = signed.checkpoint.size;
                if self.args.dry_run {
                    writeln!(
                        out,
                        "    would fetch what is missing up to {size} entries from {}",
                        mirror.name()
                    )?;
                } else {
                    let fetch =
                        restore.fetch(mirror, signed, &inspection.own, self.clock.unix(), |_| {});
                    let files = fetch.await?;
                    writeln!(
                        out,
                        "    fetched {files} files from {}: it has {size} entries now",
                        mirror.name()
                    )?;
                }
                (size, true)
            }
            None => {
                let damage = inspection.own.damage.clone().unwrap_or_default();
                let size = inspection.own.size.with_context(|| {
                    format!("{damage}; and no mirror has a copy that reaches as far: name one with --from-mirror")
                })?;
                self.require_agreement(&inspection).await?;
                (size, false)
            }
        };
        match inspection.voucher(size, in_place) {
            Some(by) if !self.args.freeze => {
                writeln!(
                    out,
                    "    {by} vouches for {size} entries: it can be started"
                )?;
                self.settle(&restore)?;
                self.freeze_again(restore, fetched && inspection.own.frozen, out)
                    .await
            }
            _ => {
                self.freeze(restore, &inspection, size, (alone, in_place), out)
                    .await
            }
        }
    }

    fn memories(&self, restore: &Restore) -> anyhow::Result<Vec<Memory>> {
        let mut memories = self.log.memories(&self.args.dir)?;
        let mut named = self.args.from_mirror.clone();
        // Who gives a log up may do so because that mirror holds something wrong.
        if !self.args.freeze {
            named.extend(restore.unfinished()?);
        }
        for text in named {
            if memories.iter().all(|memory| memory.name() != text) {
                memories.push(Memory::mirror(Mirror::parse(&text, Path::new("."))?));
            }
        }
        let url = self.log.section.as_ref();
        let url = url.map(|(config, _)| config.url.as_str());
        for memory in &memories {
            memory.require_outside(&self.log.dir, url)?;
        }
        Ok(memories)
    }

    /// Whether a restore was begun that no mirror can end, and the log is to be frozen as it is.
    fn gives_up(&self, restore: &Restore, inspection: &Inspection) -> anyhow::Result<bool> {
        let wanted = self.args.freeze && !self.args.dry_run && inspection.supply().is_none();
        Ok(wanted && restore.unfinished()?.is_some())
    }

    /// What others remember of sizes that the log has had must be what it was then.
    async fn require_agreement(&self, inspection: &Inspection) -> anyhow::Result<()> {
        let have = inspection.own.size.unwrap_or_default();
        for one in &inspection.remembered {
            let Some(signed) = one.signed().filter(|signed| signed.checkpoint.size <= have) else {
                continue;
            };
            let size = signed.checkpoint.size;
            ensure!(
                root_at_rest(&self.log.dir, size).await? == signed.checkpoint.root,
                "{} remembers another tree of {size} entries than this folder holds: the log was forked; keep both, and find out who signed",
                one.memory.name()
            );
        }
        Ok(())
    }

    fn settle(&self, restore: &Restore) -> anyhow::Result<()> {
        if !self.args.dry_run {
            restore.settle()?;
        }
        Ok(())
    }

    fn accept(
        &self,
        restore: &Restore,
        inspection: &Inspection,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let known = inspection.known();
        if self.args.dry_run {
            writeln!(
                out,
                "    would override what is known up to {known} entries"
            )?;
            return Ok(());
        }
        restore.accept_fork(known, self.clock)?;
        restore.settle()?;
        writeln!(
            out,
            "    what is known up to {known} entries is overridden: the log can be started, and is a fork from then on"
        )?;
        Ok(())
    }

    /// A log that was frozen stays so, also with the entries that it got back.
    async fn freeze_again(
        &self,
        restore: Restore,
        frozen: bool,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        drop(restore);
        if frozen && !self.args.dry_run {
            let size = self.sign_the_end().await?;
            writeln!(
                out,
                "    it was frozen, and is frozen at {size} entries now"
            )?;
        }
        Ok(())
    }

    async fn freeze(
        &self,
        restore: Restore,
        inspection: &Inspection,
        size: u64,
        (alone, in_place): (bool, bool),
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let known = inspection.known();
        let lost = known > size;
        let silent = inspection
            .remembered
            .iter()
            .filter(|one| one.answer.is_err() && !one.own);
        let silent = silent.count();
        if inspection.own.frozen && inspection.own.size == Some(size) {
            writeln!(
                out,
                "    it is frozen at {size} entries already: it can be started, and takes no more"
            )?;
            return self.settle(&restore);
        }
        if !lost && !self.args.freeze {
            if silent > 0 {
                bail!(
                    "{silent} who may remember more do not answer: try again when they do, or give the log up at {size} entries with --freeze"
                );
            }
            if in_place {
                bail!(
                    "nobody outside can vouch for {size} entries, but the folder is where it was: if it was put back all the same (a snapshot of the \
                     disk), give the log up at this size with --freeze"
                );
            }
        }
        let why = match (lost, alone) {
            (true, _) => format!(
                "{known} entries were signed, and nobody has a copy of the last {}",
                known - size
            ),
            (false, true) => {
                "there is no outside memory, so what was lost with the old disk is not known"
                    .to_owned()
            }
            (false, false) => "nobody outside vouches for this size".to_owned(),
        };
        if self.args.dry_run {
            writeln!(out, "    would freeze it at {size} entries: {why}")?;
            return Ok(());
        }
        restore.settle()?;
        drop(restore);
        let size = self.sign_the_end().await?;
        writeln!(out, "    frozen at {size} entries: {why}")?;
        writeln!(
            out,
            "    indexes {size} and above are lost unless a copy turns up (`sealwrightd restore --log {} --from-mirror`)",
            self.log.name
        )?;
        let (dir, url) = (
            self.args.dir.display(),
            self.args.url.as_deref().unwrap_or("URL"),
        );
        writeln!(
            out,
            "    next: start the instance, and give the log a successor with a host name of its own:\n    \
             sealwrightd log rotate --dir {dir} --log {} --url {url} --wait",
            self.log.name
        )?;
        Ok(())
    }

    async fn sign_the_end(&self) -> anyhow::Result<u64> {
        let (config, signer) = self.log.section.as_ref().with_context(|| {
            "its last checkpoint cannot be signed here: the log has no section in a configuration (a development instance is made \
             anew instead)"
        })?;
        let signer = signer.clone().context("it has no key here")?;
        let head = freeze_at_rest(config, &self.log.dir, signer, self.clock.clone()).await?;
        Ok(head.size)
    }
}

fn tell(inspection: &Inspection, out: &mut impl Write) -> std::io::Result<()> {
    let frozen = if inspection.own.frozen {
        ", frozen"
    } else {
        ""
    };
    match (inspection.own.size, &inspection.own.damage) {
        (Some(size), _) => writeln!(out, "    this folder: {size} entries{frozen}")?,
        (None, damage) => {
            let damage = damage.as_deref().unwrap_or("unreadable");
            writeln!(out, "    this folder: {damage}")?;
        }
    }
    for one in inspection.remembered.iter().filter(|one| !one.own) {
        tell_memory(one, out)?;
    }
    Ok(())
}

fn tell_memory(one: &Remembered, out: &mut impl Write) -> std::io::Result<()> {
    let what = if one.memory.is_witness() {
        "witness"
    } else {
        "mirror"
    };
    let name = one.memory.name();
    match &one.answer {
        Ok(Some(signed)) => {
            writeln!(out, "    {what} {name}: {} entries", signed.checkpoint.size)
        }
        Ok(None) => writeln!(out, "    {what} {name}: knows nothing of this log"),
        Err(problem) => writeln!(out, "    no answer: {problem}"),
    }
}
