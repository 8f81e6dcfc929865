//! Asks every client to do everything, and every verifier about every signer's bundles.
//!
//! A matrix is a list of questions, each with the mark that the table will show for it. A question passes when the
//! client does what its mark says: the act itself, or the very limit that it declares. All questions are asked, and all
//! that failed are told together.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use anyhow::{Context as _, bail, ensure};
use sealwright_crypto::sha256;

use super::{
    Act, Call, Client, Instance, PREDICATE_TYPE, Question, Signer, Statement, Trust, Verdict, limit,
};
use crate::{ClientView, EMAIL};

/// An identity that has signed nothing.
const STRANGER: &str = "mallory@example.com";
/// What the identity of the signer begins with; it belongs to nobody.
const BEGINNING: &str = "dev@example.co";
/// An issuer that has issued nothing.
const OTHER_ISSUER: &str = "https://issuer.example";

/// What a cell of the table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Done.
    Yes,
    /// A limit of the client, asserted.
    Limited(&'static str),
}

/// Where a mark belongs: what was asked, of whom, and about whose bundle. The two are positions in the list of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// What was asked.
    pub act: Act,
    /// Who was asked.
    pub client: usize,
    /// Who signed what it was asked about; the client itself where it was to sign.
    pub signer: usize,
}

/// What the client declares for an act.
pub fn declared(client: &dyn Client, act: Act) -> Mark {
    limit(client, act).map_or(Mark::Yes, |limit| Mark::Limited(limit.because))
}

/// The marks of a run, and what failed.
#[derive(Debug, Default)]
pub struct Results {
    /// Every cell that was asked and answered as declared.
    pub cells: BTreeMap<Cell, Mark>,
    /// Every question that was not, in words.
    pub failures: Vec<String>,
}

/// One question, to be asked on some thread.
type Ask<'a> = Box<dyn FnOnce() -> anyhow::Result<()> + Send + 'a>;

/// A question and the cell that it fills.
struct Job<'a> {
    cell: Cell,
    mark: Mark,
    told: String,
    ask: Ask<'a>,
}

/// An instance, its clients, and a folder for everything that they write.
#[derive(Debug)]
pub struct Matrix<'a> {
    view: &'a ClientView,
    instance: Instance,
    clients: &'a [Box<dyn Client>],
    dir: tempfile::TempDir,
}

impl<'a> Matrix<'a> {
    /// A matrix of `clients` on an instance. One with a provider that approves every login as [`EMAIL`] can also be
    /// asked for [`Matrix::logins`].
    pub fn new(view: &'a ClientView, clients: &'a [Box<dyn Client>]) -> anyhow::Result<Self> {
        let matrix = Self {
            view,
            instance: Instance::of(view),
            clients,
            dir: tempfile::tempdir()?,
        };
        fs::write(matrix.artifact(), "signed by each, verified by all")?;
        fs::write(matrix.path("changed.txt"), "signed by nobody")?;
        matrix.write_statement()?;
        Ok(matrix)
    }

    /// Everything that needs no login: signing, attesting, bootstrapping; then each verifies each; then what each must
    /// refuse.
    pub fn run(&self) -> Results {
        let mut results = Results::default();
        // Each of these makes a bundle that the questions after it are about.
        ask(self.making(), &mut results);
        ask(self.judging(&results), &mut results);
        ask(self.refusing(&results), &mut results);
        results
    }

    /// Logging in, by each way that a client has.
    pub fn logins(&self) -> Results {
        let mut results = Results::default();
        let jobs = self.present().flat_map(|(index, client)| {
            [
                (Act::LoginBrowser, Signer::Browser),
                (Act::LoginDevice, Signer::Device),
            ]
            .into_iter()
            .map(move |(act, signer)| {
                self.making_job(index, client, act, move || {
                    let bundle = self.bundle(index, act);
                    let home = self.home(&format!("{act:?}-{index}"))?;
                    let call = self.call(&home, Trust::Files);
                    client.sign(call, signer, &self.artifact(), &bundle)?;
                    self.accepted_by_ours(&bundle)
                })
            })
        });
        ask(jobs.collect(), &mut results);
        results
    }

    fn present(&self) -> impl Iterator<Item = (usize, &'a dyn Client)> {
        self.clients
            .iter()
            .enumerate()
            .filter(|(_, client)| client.absent().is_none())
            .map(|(index, client)| (index, client.as_ref()))
    }

    fn making(&self) -> Vec<Job<'_>> {
        let mut jobs = Vec::new();
        for (index, client) in self.present() {
            jobs.push(self.making_job(index, client, Act::Sign, move || self.sign(index, client)));
            jobs.push(self.making_job(index, client, Act::Attest, move || {
                self.attest(index, client)
            }));
            jobs.push(self.making_job(index, client, Act::Bootstrap, move || {
                self.bootstrap(index, client)
            }));
        }
        jobs
    }

    /// A job that makes something: it succeeds, or fails as the client's limit says it does.
    fn making_job<'b>(
        &'b self,
        index: usize,
        client: &'b dyn Client,
        act: Act,
        make: impl Fn() -> anyhow::Result<()> + Send + 'b,
    ) -> Job<'b> {
        let ask = move || match limit(client, act) {
            None => make(),
            Some(limit) if limit.shows.is_empty() => Ok(()),
            Some(limit) => match make() {
                Ok(()) => bail!("succeeded, though it {}", limit.because),
                Err(error) => shows(&format!("{error:#}"), limit.shows),
            },
        };
        Job {
            cell: Cell {
                act,
                client: index,
                signer: index,
            },
            mark: declared(client, act),
            told: format!("{}: {act:?}", client.name()),
            ask: Box::new(ask),
        }
    }

    fn sign(&self, index: usize, client: &dyn Client) -> anyhow::Result<()> {
        let home = self.home(&format!("sign-{index}"))?;
        let token = self.view.token()?;
        client.sign(
            self.call(&home, Trust::Files),
            Signer::Token(&token),
            &self.artifact(),
            &self.bundle(index, Act::Sign),
        )
    }

    fn attest(&self, index: usize, client: &dyn Client) -> anyhow::Result<()> {
        let home = self.home(&format!("attest-{index}"))?;
        let token = self.view.token()?;
        client.attest(
            self.call(&home, Trust::Files),
            &token,
            &self.statement(),
            &self.bundle(index, Act::Attest),
        )
    }

    /// Bootstraps, then signs (where the client can) and verifies with nothing but what that has left.
    fn bootstrap(&self, index: usize, client: &dyn Client) -> anyhow::Result<()> {
        let home = self.home(&format!("bootstrap-{index}"))?;
        let call = self.call(&home, Trust::Bootstrapped);
        client.bootstrap(call)?;
        let bundle = self.bundle(index, Act::Bootstrap);
        let token = self.view.token()?;
        let signer = match limit(client, Act::Sign) {
            None => client,
            Some(_) => self.clients.first().context("a first client")?.as_ref(),
        };
        let trust = if limit(client, Act::Sign).is_none() {
            Trust::Bootstrapped
        } else {
            Trust::Files
        };
        let artifact = self.artifact();
        signer.sign(
            Call { trust, ..call },
            Signer::Token(&token),
            &artifact,
            &bundle,
        )?;
        let question = self.question(&bundle, &artifact);
        match client.verify(call, question)? {
            Verdict::Accepted => Ok(()),
            refused @ Verdict::Refused(_) => bail!("what TUF gave does not verify: {refused}"),
        }
    }

    /// Each verifier about each signer's two bundles.
    fn judging(&self, made: &Results) -> Vec<Job<'_>> {
        let mut jobs = Vec::new();
        for (index, client) in self.present() {
            for (signer, by) in self.present() {
                for (act, making) in [
                    (Act::Verify, Act::Sign),
                    (Act::VerifyAttestation, Act::Attest),
                ] {
                    if made_by(made, signer, making) {
                        let bundle = self.bundle(signer, making);
                        jobs.push(self.judging_job((index, client), (signer, by), act, bundle));
                    }
                }
            }
        }
        jobs
    }

    fn judging_job<'b>(
        &'b self,
        (index, client): (usize, &'b dyn Client),
        (signer, by): (usize, &'b dyn Client),
        act: Act,
        bundle: PathBuf,
    ) -> Job<'b> {
        let ask = move || {
            let artifact = self.artifact();
            let home = self.home(&format!("{act:?}-{index}-{signer}"))?;
            let verdict = self.verdict(client, act, &home, self.question(&bundle, &artifact))?;
            match (limit(client, act), verdict) {
                (None, Verdict::Accepted) => Ok(()),
                (Some(limit), Verdict::Refused(reason)) => shows(&reason, limit.shows),
                (_, verdict) => bail!("{verdict}"),
            }
        };
        Job {
            cell: Cell {
                act,
                client: index,
                signer,
            },
            mark: declared(client, act),
            told: format!("{}: {act:?} of a bundle by {}", client.name(), by.name()),
            ask: Box::new(ask),
        }
    }

    /// What every verifier must refuse, asked about bundles that it has accepted: our own.
    fn refusing(&self, results: &Results) -> Vec<Job<'_>> {
        let (artifact, changed) = (self.artifact(), self.path("changed.txt"));
        let issuer = &self.instance.issuer;
        let mut jobs = Vec::new();
        for (index, client) in self.present() {
            for (act, making) in [
                (Act::Verify, Act::Sign),
                (Act::VerifyAttestation, Act::Attest),
            ] {
                let cell = Cell {
                    act,
                    client: index,
                    signer: 0,
                };
                // A client that accepts no such bundle cannot show that it refuses a wrong one for the right reason.
                if results.cells.get(&cell) != Some(&Mark::Yes) {
                    continue;
                }
                let subject = if act == Act::Verify {
                    Act::Verify
                } else {
                    Act::Subject
                };
                for (about, file, identity, issuer) in [
                    (subject, &changed, EMAIL, issuer.as_str()),
                    (act, &artifact, STRANGER, issuer.as_str()),
                    (Act::WholeIdentity, &artifact, BEGINNING, issuer.as_str()),
                    (act, &artifact, EMAIL, OTHER_ISSUER),
                ] {
                    let told = format!(
                        "{}: {act:?} must refuse {} by {identity} of {issuer}",
                        client.name(),
                        file.display()
                    );
                    let (file, issuer) = (file.clone(), issuer.to_owned());
                    let bundle = self.bundle(0, making);
                    let cell = Cell { act: about, ..cell };
                    let number = jobs.len();
                    let ask = move || {
                        let home = self.home(&format!("refuse-{number}"))?;
                        let question = Question {
                            bundle: &bundle,
                            artifact: &file,
                            identity,
                            issuer: &issuer,
                        };
                        let verdict = self.verdict(client, act, &home, question)?;
                        // A limit here is that the client accepts what it does not look at.
                        let blind = about != act && limit(client, about).is_some();
                        ensure!(blind == (verdict == Verdict::Accepted), "{verdict}");
                        Ok(())
                    };
                    jobs.push(Job {
                        cell,
                        mark: declared(client, about),
                        told,
                        ask: Box::new(ask),
                    });
                }
            }
        }
        jobs
    }

    fn verdict(
        &self,
        client: &dyn Client,
        act: Act,
        home: &Path,
        question: Question<'_>,
    ) -> anyhow::Result<Verdict> {
        let call = self.call(home, Trust::Files);
        match act {
            Act::VerifyAttestation => client.verify_attestation(call, question),
            _ => client.verify(call, question),
        }
    }

    fn accepted_by_ours(&self, bundle: &Path) -> anyhow::Result<()> {
        self.view
            .verify(&self.artifact(), bundle)?
            .success()
            .map(drop)
    }

    fn question<'b>(&'b self, bundle: &'b Path, artifact: &'b Path) -> Question<'b> {
        Question {
            bundle,
            artifact,
            identity: EMAIL,
            issuer: &self.instance.issuer,
        }
    }

    fn call<'b>(&'b self, home: &'b Path, trust: Trust) -> Call<'b> {
        Call {
            instance: &self.instance,
            trust,
            home,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn home(&self, name: &str) -> anyhow::Result<PathBuf> {
        let home = self.path(name);
        fs::create_dir_all(&home)?;
        Ok(home)
    }

    fn artifact(&self) -> PathBuf {
        self.path("artifact.txt")
    }

    fn bundle(&self, index: usize, act: Act) -> PathBuf {
        self.path(&format!("{act:?}-{index}.sigstore.json"))
    }

    fn statement(&self) -> Statement {
        Statement {
            artifact: self.artifact(),
            statement: self.path("statement.json"),
            predicate: self.path("predicate.json"),
        }
    }

    fn write_statement(&self) -> anyhow::Result<()> {
        let Statement {
            artifact,
            statement,
            predicate,
        } = self.statement();
        let content = serde_json::json!({
            "buildDefinition": {
                "buildType": "https://example.com/build/v1",
                "externalParameters": {"target": "all"},
            },
            "runDetails": {"builder": {"id": "https://example.com/builder"}},
        });
        fs::write(&predicate, content.to_string())?;
        let digest = hex::encode(sha256(&fs::read(artifact)?));
        let content = serde_json::json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "artifact.txt", "digest": {"sha256": digest}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": content,
        });
        fs::write(statement, content.to_string())?;
        Ok(())
    }
}

fn made_by(results: &Results, signer: usize, act: Act) -> bool {
    let cell = Cell {
        act,
        client: signer,
        signer,
    };
    results.cells.get(&cell) == Some(&Mark::Yes)
}

fn shows(said: &str, expected: &str) -> anyhow::Result<()> {
    ensure!(
        said.contains(expected),
        "the limit should show as {expected:?}, but it said {said}"
    );
    Ok(())
}

/// Asks all on as many threads as there are processors. A cell that several questions fill is filled when all passed.
fn ask(jobs: Vec<Job<'_>>, results: &mut Results) {
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let queue = Mutex::new(jobs.into_iter());
    let answers = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    // The lock must not be held while the question is asked.
                    let next = queue.lock().expect("no thread panics with the lock").next();
                    let Some(job) = next else { break };
                    let answer = (job.ask)();
                    let mut answers = answers.lock().expect("no thread panics with the lock");
                    answers.push((job.cell, job.mark, job.told, answer));
                }
            });
        }
    });
    let answers = answers
        .into_inner()
        .expect("no thread panics with the lock");
    for (cell, mark, _, _) in answers.iter().filter(|answer| answer.3.is_ok()) {
        results.cells.insert(*cell, *mark);
    }
    for (cell, _, told, answer) in answers {
        if let Err(error) = answer {
            results.cells.remove(&cell);
            results.failures.push(format!("{told}: {error:#}"));
        }
    }
}
