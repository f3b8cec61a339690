//! A machine, an appliance and a network that loses, repeats and delays, with power cuts on both
//! sides: an installation happens once a generation, and in the end the machine runs.

mod fixture;

use std::collections::BTreeMap;

use fixture::{desired, disk, inventory};
use hardway_model::boot::Asker;
use hardway_model::desired::{DiskSelector, WipePolicy};
use hardway_model::identity::Sha256;
use hardway_model::inventory::Content;
use hardway_model::lifecycle::{Effect, Event, MachineState, Phase, step};
use hardway_model::messages::AgentEvent;
use hardway_model::plan::{Circumstances, Decision, Plan, Step, plan};
use hardway_model::receipt::Stage;
use proptest::prelude::*;

/// What may happen next, in any order.
#[derive(Debug, Clone)]
enum Action {
    /// The machine is switched off and on.
    PowerCycle,
    /// The machine asks its firmware's packet once more.
    RepeatDhcp,
    /// The agent says hello, again if it did before.
    Hello,
    /// The agent carries out this many steps.
    Work(usize),
    /// A message in flight arrives, and maybe stays in flight as a duplicate.
    Deliver { index: usize, duplicate: bool },
    /// A message in flight is lost.
    Lose(usize),
    /// The appliance forgets what was not durable.
    RestartAppliance,
    /// The appliance is replaced by one that never heard of the machine.
    LoseJournal,
    /// The operator wants a reinstallation.
    Reinstall,
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => Just(Action::PowerCycle),
        1 => Just(Action::RepeatDhcp),
        4 => Just(Action::Hello),
        6 => (1_usize..5).prop_map(Action::Work),
        12 => (0_usize..16, any::<bool>()).prop_map(|(index, duplicate)| Action::Deliver { index, duplicate }),
        2 => (0_usize..16).prop_map(Action::Lose),
        1 => Just(Action::RestartAppliance),
        1 => Just(Action::LoseJournal),
        1 => Just(Action::Reinstall),
    ]
}

/// A message on its way to the appliance.
#[derive(Debug, Clone)]
enum Message {
    Report {
        token: String,
        sequence: u64,
        event: Box<AgentEvent>,
    },
    Running {
        generation: u32,
        key: String,
        boot_id: String,
    },
}

/// The agent of one boot.
struct Agent {
    token: String,
    plan: Option<(Plan, String)>,
    done: usize,
    sequence: u64,
}

/// In place of SHA-256: another for each key.
fn digest(key: &str) -> Sha256 {
    let mut bytes = [0; 32];
    bytes[..key.len()].copy_from_slice(key.as_bytes());
    Sha256(bytes)
}

struct World {
    state: MachineState,
    durable: MachineState,
    now: u64,
    disk: Content,
    /// The confirmation key on the disk.
    key_on_disk: String,
    agent: Option<Agent>,
    in_flight: Vec<Message>,
    counter: u64,
    claims: u32,
    commits: BTreeMap<u32, u32>,
}

impl World {
    fn new() -> Self {
        Self {
            state: MachineState::default(),
            durable: MachineState::default(),
            now: 0,
            disk: Content::Blank,
            key_on_disk: String::new(),
            agent: None,
            in_flight: Vec::new(),
            counter: 0,
            claims: 0,
            commits: BTreeMap::new(),
        }
    }

    fn happens(&mut self, event: Event) {
        let before = self.state.clone();
        self.now += 100;
        let (state, effects) = step(self.state.clone(), event, self.now);
        self.state = state;
        if effects.contains(&Effect::Persist) {
            self.durable = self.state.clone();
        }
        let generation = |state: &MachineState| state.installed.as_ref().map(|r| r.generation);
        assert!(
            generation(&self.state) >= generation(&before),
            "what is installed was forgotten"
        );
        assert!(self.state.generation >= before.generation);
        assert!(
            self.state.installs_begun <= self.claims,
            "a repeated report was counted"
        );
        let committed = self.commits.keys().max().copied();
        assert!(
            generation(&self.state) <= committed,
            "believed installed, and is not"
        );
    }

    fn fresh(&mut self, what: &str) -> String {
        self.counter += 1;
        format!("{what} {}", self.counter)
    }

    fn dhcp(&mut self) {
        self.happens(Event::Dhcp {
            mac: "52:54:00:00:00:01".parse().unwrap(),
            summary: "REQUEST".into(),
            address: None,
            asker: Asker::Ipxe,
            boot_file: None,
        });
    }

    fn power_cycle(&mut self) {
        self.agent = None;
        self.dhcp();
        if !self.state.wants_install() {
            self.happens(Event::Script {
                summary: "sent to its disk".into(),
                token: None,
            });
            return self.start_disk();
        }
        let token = self.fresh("token");
        self.happens(Event::Script {
            summary: "given the agent".into(),
            token: Some(token.clone()),
        });
        self.agent = Some(Agent {
            token,
            plan: None,
            done: 0,
            sequence: 0,
        });
    }

    /// Only a complete disk boots.
    fn start_disk(&mut self) {
        self.agent = None;
        let boot_id = self.fresh("boot");
        if let Content::Ours { receipt } = &self.disk
            && receipt.stage == Stage::Complete
        {
            self.in_flight.push(Message::Running {
                generation: receipt.generation,
                key: self.key_on_disk.clone(),
                boot_id,
            });
        }
    }

    /// By the key itself, or by what the receipt of an adopted system says of it.
    fn believes(&self, key: &String) -> bool {
        self.state.confirmation_key.as_ref() == Some(key)
            || self.state.adopted_confirmation == Some(digest(key))
    }

    fn token_is_live(&self, token: &str) -> bool {
        self.state
            .token
            .as_ref()
            .is_some_and(|live| live.token == token)
    }

    fn hello(&mut self) {
        let Some(agent) = &self.agent else { return };
        if !self.token_is_live(&agent.token) {
            return;
        }
        let machine = inventory(vec![disk('a', 8, self.disk.clone())]);
        let fresh_key = self.fresh("key");
        let decision = plan(
            &desired(WipePolicy::IfOurs, DiskSelector::default()),
            &machine,
            Circumstances {
                generation: self.state.generation,
                grants: &[],
                armed: None,
                preparation: None,
                now: self.now,
                agent: "0.1.0",
                appliance: "0.1.0",
                confirmation: Some(digest(&fresh_key)),
            },
        );
        self.happens(Event::Hello {
            inventory: Box::new(machine),
            decision: Box::new(decision.clone()),
            confirmation_key: fresh_key,
            fetched: 0,
        });
        let key = self.state.confirmation_key.clone().unwrap_or_default();
        let orders = match decision {
            Decision::Install { plan, .. } | Decision::AlreadyInstalled { plan, .. } => {
                Some((plan, key))
            }
            Decision::Refuse { .. } => None,
        };
        if let Some(agent) = &mut self.agent {
            agent.plan = orders;
            agent.done = 0;
        }
    }

    fn report(&mut self, event: AgentEvent) {
        if let Some(agent) = &mut self.agent {
            agent.sequence += 1;
            self.in_flight.push(Message::Report {
                token: agent.token.clone(),
                sequence: agent.sequence,
                event: Box::new(event),
            });
        }
    }

    /// One step of the plan, if the agent has one.
    fn work(&mut self) {
        let Some(agent) = &mut self.agent else { return };
        let Some((plan, key)) = &agent.plan else {
            return;
        };
        let Some(step) = plan.steps.get(agent.done).cloned() else {
            return;
        };
        let key = key.clone();
        agent.done += 1;
        self.report(AgentEvent::StepStarted {
            step: step.name().to_owned(),
        });
        match step {
            Step::ClaimDisk { disk, receipt } => {
                if disk.content != self.disk {
                    self.report(AgentEvent::Failed {
                        step: "claim-disk".into(),
                        cause: "changed".into(),
                    });
                    return self.agent.iter_mut().for_each(|agent| agent.plan = None);
                }
                if let Content::Ours { receipt: before } = &self.disk {
                    let is_older = before.generation < receipt.generation;
                    assert!(
                        before.stage == Stage::Writing || is_older,
                        "generation {} was overwritten by {}",
                        before.generation,
                        receipt.generation
                    );
                }
                self.claims += 1;
                self.disk = Content::Ours {
                    receipt: Box::new(receipt),
                };
            }
            Step::CommitDisk { receipt } => {
                *self.commits.entry(receipt.generation).or_default() += 1;
                self.key_on_disk = key;
                self.disk = Content::Ours {
                    receipt: Box::new(receipt.clone()),
                };
                self.report(AgentEvent::Installed {
                    receipt: Box::new(receipt),
                });
            }
            Step::HandOver { .. } => {
                self.report(AgentEvent::HandingOver {
                    how: "kexec".into(),
                    fallback: None,
                });
                self.start_disk();
            }
            _ => {}
        }
    }

    fn deliver(&mut self, index: usize, duplicate: bool) {
        if self.in_flight.is_empty() {
            return;
        }
        let index = index % self.in_flight.len();
        let message = match duplicate {
            true => self.in_flight[index].clone(),
            false => self.in_flight.remove(index),
        };
        match message {
            Message::Report {
                token,
                sequence,
                event,
            } if self.token_is_live(&token) => {
                let event = *event;
                self.happens(Event::Report { sequence, event });
            }
            Message::Running {
                generation,
                key,
                boot_id,
            } if self.believes(&key) => {
                self.happens(Event::Running {
                    generation,
                    boot_id,
                });
            }
            // Refused at the door.
            Message::Report { .. } | Message::Running { .. } => {}
        }
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::PowerCycle => self.power_cycle(),
            Action::RepeatDhcp => self.dhcp(),
            Action::Hello => self.hello(),
            Action::Work(steps) => (0..steps).for_each(|_| self.work()),
            Action::Deliver { index, duplicate } => self.deliver(index, duplicate),
            Action::Lose(index) => {
                if !self.in_flight.is_empty() {
                    self.in_flight.remove(index % self.in_flight.len());
                }
            }
            Action::RestartAppliance => self.state = self.durable.clone(),
            Action::LoseJournal => {
                self.durable = MachineState::default();
                self.state = MachineState::default();
            }
            Action::Reinstall => self.happens(Event::Reinstall),
        }
    }

    /// From here on nothing goes wrong: the machine is switched on and left alone.
    fn calm_down(&mut self) {
        self.in_flight.clear();
        self.power_cycle();
        self.hello();
        for _ in 0..10 {
            self.work();
            while !self.in_flight.is_empty() {
                self.deliver(0, false);
            }
        }
        while !self.in_flight.is_empty() {
            self.deliver(0, false);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn installed_once_a_generation_and_running_in_the_end(
        actions in prop::collection::vec(any_action(), 0..60)
    ) {
        let mut world = World::new();
        for action in &actions {
            world.act(action);
        }
        world.calm_down();
        prop_assert_eq!(&world.state.phase, &Phase::Running);
        prop_assert!(!world.state.wants_install());
        let Content::Ours { receipt } = &world.disk else {
            return Err(TestCaseError::fail("nothing was installed"));
        };
        prop_assert_eq!(receipt.generation, world.state.generation);
        prop_assert_eq!(world.state.installed.as_ref(), Some(receipt.as_ref()));
        // An appliance that forgot which generations there were gives an interrupted one its number again.
        let forgot = actions.iter().any(|action| matches!(action, Action::LoseJournal));
        for (generation, commits) in world.commits.iter().filter(|_| !forgot) {
            prop_assert_eq!(*commits, 1, "generation {} was installed more than once", generation);
        }
    }
}
