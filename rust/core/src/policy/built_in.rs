//! Policies by name: the table in which scenarios and callers from other languages find them.

use super::AllocationPolicy;
use super::baselines::{Equal, Static};
use super::min_funding::MinFunding;
use super::price::TaxRate;
use super::proxmox::{self, Proxmox};
use crate::config;
use crate::error::Error;

/// What a setting of a policy is given.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// Pages, a row a virtual machine in power-on order.
    Pages(Vec<i64>),
}

/// A setting that a policy takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What it is unless it is given; without one it must be given.
    pub default: Option<f64>,
    /// What it means, in a line.
    pub meaning: &'static str,
}

/// A policy of the table.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a line.
    pub meaning: &'static str,
    /// What it takes.
    pub settings: &'static [Setting],
    make: fn(&Given<'_>) -> Result<Box<dyn AllocationPolicy>, Error>,
}

/// All of them, the paper's first.
pub const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: "esx2002",
        meaning: "the paper's: min-funding revocation with the idle memory tax",
        settings: &[Setting {
            name: "tax_rate",
            default: Some(config::TAX_RATE),
            meaning: "most that may be taken of a VM's idle pages, at least 0 and below 1",
        }],
        make: |given| Ok(Box::new(MinFunding { tax: TaxRate::new(given.number("tax_rate")?)? })),
    },
    BuiltIn {
        name: "proportional",
        meaning: "memory in proportion to shares: the paper's without the tax",
        settings: &[],
        make: |_| Ok(Box::new(MinFunding { tax: TaxRate::NONE })),
    },
    BuiltIn {
        name: "equal",
        meaning: "the same for everyone, as far as min and max allow",
        settings: &[],
        make: |_| Ok(Box::new(Equal)),
    },
    BuiltIn {
        name: "static",
        meaning: "targets that stay as they are",
        settings: &[Setting { name: "targets", default: None, meaning: "the target of each VM in pages" }],
        make: |given| Ok(Box::new(Static { targets: given.pages("targets")? })),
    },
    BuiltIn {
        name: "proxmox",
        meaning: "Proxmox VE's auto-balloon: steers the use of the machine to a fraction",
        settings: &[
            Setting {
                name: "target_fraction",
                default: Some(proxmox::TARGET_FRACTION),
                meaning: "the part of the machine that should be in use, 0 to 1",
            },
            Setting {
                name: "round_pages",
                default: Some(proxmox::ROUND_PAGES as f64),
                meaning: "pages that a VM gains or loses at most each time",
            },
        ],
        make: |given| {
            Ok(Box::new(Proxmox::new(given.number("target_fraction")?, given.whole("round_pages")?)?))
        },
    },
];

/// The policy of that name, with its defaults for what is not given.
///
/// # Errors
///
/// [`Error::Setting`] if there is no such policy or it has no such setting, if one is given twice, missing, of the wrong
/// kind or out of range.
pub fn named(name: &str, settings: &[(&str, Value)]) -> Result<Box<dyn AllocationPolicy>, Error> {
    let Some(policy) = BUILT_IN.iter().find(|policy| policy.name == name) else {
        let known: Vec<&str> = BUILT_IN.iter().map(|policy| policy.name).collect();
        return Err(refusal("policy", format!("{name:?}"), one_of(&known)));
    };
    let known: Vec<&str> = policy.settings.iter().map(|setting| setting.name).collect();
    for (place, (setting, _)) in settings.iter().enumerate() {
        if !known.contains(setting) {
            return Err(refusal("policy setting", format!("{setting:?}"), one_of(&known)));
        }
        if settings[..place].iter().any(|(earlier, _)| earlier == setting) {
            return Err(refusal("policy setting", format!("{setting:?} twice"), "each at most once".into()));
        }
    }
    (policy.make)(&Given { policy, settings })
}

fn refusal(what: &'static str, value: String, expected: String) -> Error {
    Error::Setting { what, value, expected }
}

fn one_of(names: &[&str]) -> String {
    match names {
        [] => "none, as this policy takes no settings".into(),
        [name] => (*name).into(),
        [names @ .., last] => format!("{} or {last}", names.join(", ")),
    }
}

/// The settings that a policy of the table is made with.
struct Given<'a> {
    policy: &'a BuiltIn,
    settings: &'a [(&'a str, Value)],
}

impl Given<'_> {
    fn value(&self, name: &str) -> Option<&Value> {
        self.settings.iter().find(|(given, _)| *given == name).map(|(_, value)| value)
    }

    fn default(&self, name: &str) -> Option<f64> {
        self.policy.settings.iter().find(|setting| setting.name == name).and_then(|setting| setting.default)
    }

    fn number(&self, name: &'static str) -> Result<f64, Error> {
        match self.value(name) {
            Some(Value::Number(number)) => Ok(*number),
            Some(Value::Pages(rows)) => Err(refusal(name, format!("{} rows", rows.len()), "a number".into())),
            None => self.default(name).ok_or_else(|| refusal(name, "missing".into(), "a number".into())),
        }
    }

    fn whole(&self, name: &'static str) -> Result<u32, Error> {
        let number = self.number(name)?;
        let whole = number as u32;
        if f64::from(whole) == number {
            Ok(whole)
        } else {
            Err(refusal(name, number.to_string(), format!("a whole number from 0 to {}", u32::MAX)))
        }
    }

    fn pages(&self, name: &'static str) -> Result<Vec<i64>, Error> {
        let refuse = |value| Err(refusal(name, value, "pages, a number for each VM".into()));
        match self.value(name) {
            Some(Value::Pages(rows)) => Ok(rows.clone()),
            Some(Value::Number(number)) => refuse(number.to_string()),
            None => refuse("missing".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{HostView, Targets};

    fn view() -> HostView {
        HostView {
            names: vec!["idle".into(), "busy".into()],
            shares: vec![1000, 2000],
            min_pages: vec![100; 2],
            max_pages: vec![1000; 2],
            active_pages: vec![0, 1000],
            balloon_pages: vec![0, 300],
            guest_free_pages: vec![None; 2],
            driver_ok: vec![true; 2],
            available_pages: 1200,
            machine_pages: 10_000,
            free_pages: 2000,
            ..HostView::default()
        }
    }

    /// Settings without which a policy cannot be.
    fn needed(name: &str) -> Vec<(&'static str, Value)> {
        if name == "static" { vec![("targets", Value::Pages(vec![500, 600]))] } else { vec![] }
    }

    fn refused(name: &str, settings: &[(&str, Value)]) -> String {
        named(name, settings).expect_err("refused").to_string()
    }

    #[test]
    fn all_of_them_know_their_names_and_answer() {
        let answers = [
            ("esx2002", [200, 1000]),
            ("proportional", [400, 800]),
            ("equal", [600, 600]),
            ("static", [500, 600]),
            ("proxmox", [1000, 700]),
        ];
        assert_eq!(
            BUILT_IN.iter().map(|policy| policy.name).collect::<Vec<_>>(),
            answers.map(|answer| answer.0)
        );
        for (name, targets) in answers {
            let policy = named(name, &needed(name)).expect("in the table");
            assert_eq!(policy.name(), name);
            assert_eq!(Targets::ask(&*policy, &view()).expect("valid").pages(), targets, "{name}");
        }
    }

    #[test]
    fn defaults_are_what_the_table_says() {
        for policy in BUILT_IN {
            let mut settings = needed(policy.name);
            let defaults = policy.settings.iter();
            settings
                .extend(defaults.filter_map(|setting| Some((setting.name, Value::Number(setting.default?)))));
            let (plain, spelt) = (named(policy.name, &needed(policy.name)), named(policy.name, &settings));
            assert_eq!(format!("{plain:?}"), format!("{spelt:?}"));
        }
        assert_eq!(format!("{:?}", named("esx2002", &[])), format!("Ok({:?})", MinFunding::default()));
        assert_eq!(format!("{:?}", named("proxmox", &[])), format!("Ok({:?})", Proxmox::default()));
    }

    #[test]
    fn settings_reach_their_policy() {
        let untaxed = named("esx2002", &[("tax_rate", Value::Number(0.0))]).expect("valid");
        assert_eq!((untaxed.name(), untaxed.targets(&view())), ("proportional", Ok(vec![400, 800])));
        let settings = [("round_pages", Value::Number(50.0)), ("target_fraction", Value::Number(0.4))];
        let proxmox = named("proxmox", &settings).expect("valid");
        assert_eq!(proxmox.targets(&view()), Ok(vec![950, 650]), "4000 to take back, 50 at a time");
    }

    #[test]
    fn reasons_are_those_of_prices() {
        let reasons = |name| named(name, &needed(name)).expect("valid").reasons(&view(), &[200, 1000]);
        let taxed = reasons("esx2002").expect("prices");
        assert_eq!((taxed.taxed_pages, taxed.cheapest), (vec![200, -200], Some(0)));
        assert_eq!(reasons("proportional").expect("prices").prices, [5.0, 2.0]);
        assert_eq!([reasons("equal"), reasons("static"), reasons("proxmox")], [None, None, None]);
    }

    #[test]
    fn unknown_names_are_refused_with_those_there_are() {
        let all = "esx2002, proportional, equal, static or proxmox";
        assert_eq!(refused("vmware", &[]), format!("policy is \"vmware\"; expected {all}"));
        assert_eq!(refused("", &[]), format!("policy is \"\"; expected {all}"));
        let number = || Value::Number(0.5);
        assert_eq!(refused("esx2002", &[("tax", number())]), "policy setting is \"tax\"; expected tax_rate");
        assert_eq!(
            refused("equal", &[("tax_rate", number())]),
            "policy setting is \"tax_rate\"; expected none, as this policy takes no settings"
        );
        assert_eq!(
            refused("proxmox", &[("floor", number())]),
            "policy setting is \"floor\"; expected target_fraction or round_pages"
        );
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        let number = Value::Number;
        assert_eq!(
            refused("esx2002", &[("tax_rate", number(0.5)), ("tax_rate", number(0.6))]),
            "policy setting is \"tax_rate\" twice; expected each at most once"
        );
        assert_eq!(
            refused("esx2002", &[("tax_rate", number(1.0))]),
            "tax_rate is 1; expected a number of at least 0 and below 1"
        );
        assert_eq!(
            refused("esx2002", &[("tax_rate", Value::Pages(vec![1, 2]))]),
            "tax_rate is 2 rows; expected a number"
        );
        assert_eq!(refused("static", &[]), "targets is missing; expected pages, a number for each VM");
        assert_eq!(
            refused("static", &[("targets", number(3.0))]),
            "targets is 3; expected pages, a number for each VM"
        );
        for pages in [-1.0, 0.0, 0.5, f64::NAN, f64::INFINITY, 4_294_967_296.0] {
            assert!(refused("proxmox", &[("round_pages", number(pages))]).starts_with("round_pages is"));
        }
    }
}
