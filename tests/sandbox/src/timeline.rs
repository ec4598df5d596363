//! The course of an order: a pure function of its steps and the time since it was sent.

use std::time::Duration;

use crate::fields::Fields;

/// From `after` on the order has this status and exactly these extra fields.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) after: Duration,
    pub(crate) status: String,
    pub(crate) fields: Fields,
}

impl Step {
    pub(crate) fn new(after: Duration, status: &str) -> Self {
        Self { after, status: status.to_owned(), fields: Fields::default() }
    }

    pub(crate) fn with(self, fields: Fields) -> Self {
        Self { fields, ..self }
    }
}

/// At least one step, in ascending order.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    steps: Vec<Step>,
    last: Step,
}

impl Timeline {
    pub(crate) fn new(steps: Vec<Step>) -> Result<Self, String> {
        let Some(last) = steps.last().cloned() else {
            return Err("a timeline needs at least one step".to_owned());
        };
        if !steps.is_sorted_by_key(|step| step.after) {
            return Err("the steps of a timeline must ascend by after_seconds".to_owned());
        }
        Ok(Self { steps, last })
    }

    /// Ends the timeline with this step instead of the steps after it.
    pub(crate) fn end_with(&mut self, step: Step) {
        self.steps.retain(|earlier| earlier.after <= step.after);
        self.steps.push(step.clone());
        self.last = step;
    }

    /// The current step; `None` before the first one, when the order does not exist yet.
    pub(crate) fn at(&self, elapsed: Duration) -> Option<&Step> {
        self.steps.iter().rev().find(|step| step.after <= elapsed)
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(crate) fn last(&self) -> &Step {
        &self.last
    }
}
