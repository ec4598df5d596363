//! Admission: one item per key (`pk = ADMISSION#{fingerprint}`), changed by conditional updates only.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    error::SdkError,
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use jiff::Timestamp;

use super::{Item, Store, StoreError, item::millis, lost_update};
use crate::{
    admission::{Class, GiveBack, ListTrust, MOST_REFUSALS, Move, Take, Usage, VendorEvent},
    order::{OUTBOX_DUE, Product},
    planner::{Page, UnderWay},
    secret::Fingerprint,
    time::later,
};

/// The partition key's beginning.
pub(super) const PREFIX: &str = "ADMISSION#";
/// Where in the due index a key with events to announce is found.
const SHARD: &str = "0";
/// A suspended key of which everything is said stays in the due index, so that its end can be said even if it is not used again: it is
/// due again after so long.
const SUSPENDED_DUE: Duration = Duration::from_secs(60);

/// Whether an update took hold.
#[derive(Clone, Debug)]
pub enum Taken {
    /// It did; this is known now.
    Yes(Usage),
    /// Something was in the way; this is known instead.
    No(Usage),
}

/// What is known of a key, with the events about it that are not out yet.
#[derive(Clone, Debug, Default)]
pub struct VendorOutbox {
    /// Its events, ascending.
    pub events: Vec<VendorEvent>,
    /// Its use.
    pub usage: Usage,
}

/// An update in the making.
struct Change {
    sets: Vec<String>,
    removes: Vec<String>,
    conditions: Vec<String>,
    values: Item,
}

impl Change {
    fn new() -> Self {
        Self { sets: Vec::new(), removes: Vec::new(), conditions: Vec::new(), values: HashMap::new() }
    }

    fn set(mut self, text: impl Into<String>) -> Self {
        self.sets.push(text.into());
        self
    }

    fn remove(mut self, name: impl Into<String>) -> Self {
        self.removes.push(name.into());
        self
    }

    fn only_if(mut self, text: impl Into<String>) -> Self {
        self.conditions.push(format!("({})", text.into()));
        self
    }

    fn value(mut self, name: impl Into<String>, value: AttributeValue) -> Self {
        self.values.insert(name.into(), value);
        self
    }

    /// Counts a change of the buckets.
    fn one_permit(self) -> Self {
        self.set("permits = if_not_exists(permits, :no_permits) + :one_permit")
            .value(":no_permits", number(0))
            .value(":one_permit", number(1))
    }

    /// Puts these pages on record, if those that were known at this turn are still all there are.
    fn pages(self, pages: &[UnderWay], turn: i64) -> Self {
        self.set("pages = :pages")
            .set("page_turn = :next_turn")
            .only_if("attribute_not_exists(page_turn) OR page_turn = :turn")
            .value(":pages", AttributeValue::S(write_pages(pages)))
            .value(":turn", number(turn))
            .value(":next_turn", number(turn.saturating_add(1)))
    }

    /// Moves a slot on, under the condition that belongs to it.
    fn slot(self, name: &str, how: Move) -> Self {
        match how {
            Move::Busy { latest, period } => self
                .set(format!("{name} = {name} + :{name}_period"))
                .only_if(format!("{name} >= :at AND {name} <= :{name}_latest"))
                .value(format!(":{name}_period"), number(period))
                .value(format!(":{name}_latest"), number(latest)),
            Move::Idle { slot, too_far } => self
                .set(format!("{name} = :{name}"))
                .only_if(format!("attribute_not_exists({name}) OR {name} < :at OR {name} > :{name}_too_far"))
                .value(format!(":{name}"), number(slot))
                .value(format!(":{name}_too_far"), number(too_far)),
        }
    }
}

impl Store {
    /// What is known of a key's use.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn usage(&self, key: &Fingerprint) -> Result<Usage, StoreError> {
        Ok(self.admission(key).await?.map(|item| read_usage(&item)).unwrap_or_default())
    }

    /// Moves the slots on, unless somebody has used them up, or the key is paused or suspended by now. `pages` are the pages under way
    /// with the new one, and the turn at which they were known: who plans a page must know all before it.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn take_slot(
        &self,
        key: &Fingerprint,
        class: Class,
        take: &Take,
        pages: Option<(Vec<UnderWay>, i64)>,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let mut change = Change::new()
            .only_if("attribute_not_exists(suspended_until)")
            .only_if("attribute_not_exists(refusals) OR refusals < :most_refusals")
            .only_if("attribute_not_exists(paused_until) OR paused_until <= :now OR paused_until > :no_pause")
            .value(":most_refusals", number(MOST_REFUSALS.into()))
            .value(":now", millis(now))
            .value(":no_pause", millis(crate::admission::unbelievable_pause(now)))
            .value(":at", number(now.as_microsecond()))
            .one_permit()
            .slot("slot", take.all);
        if let Some(own) = take.own {
            change = change.slot(&format!("slot_{}", class.as_str()), own);
        }
        if let Some((pages, turn)) = pages {
            change = change.pages(&pages, turn);
        }
        self.change(key, "admit a call", change).await
    }

    /// Sets the slots back that a call of `class` has moved, unless they have been moved since; with it the pages on record, if given:
    /// those that are left, and the turn at which they were known.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn give_back(
        &self,
        key: &Fingerprint,
        class: Class,
        give_back: &GiveBack,
        pages: Option<(Vec<UnderWay>, i64)>,
    ) -> Result<Taken, StoreError> {
        let mut change = Change::new()
            .one_permit()
            .set("slot = :before")
            .only_if("permits = :permits AND slot = :after")
            .value(":permits", number(give_back.permits))
            .value(":before", number(give_back.all.before))
            .value(":after", number(give_back.all.after));
        if let Some(own) = give_back.own {
            let name = format!("slot_{}", class.as_str());
            change = change
                .set(format!("{name} = :own_before"))
                .only_if(format!("{name} = :own_after"))
                .value(":own_before", number(own.before))
                .value(":own_after", number(own.after));
        }
        if let Some((pages, turn)) = pages {
            change = change.pages(&pages, turn);
        }
        self.change(key, "give an admission back", change).await
    }

    /// Keeps only these pages on record, if they are known as of this turn.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn forget_page(
        &self,
        key: &Fingerprint,
        pages: &[UnderWay],
        turn: i64,
    ) -> Result<Taken, StoreError> {
        self.change(key, "take a page off the record", Change::new().pages(pages, turn)).await
    }

    /// Takes the one probe of a suspended key, and arms the next in the same update.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn arm_probe(
        &self,
        key: &Fingerprint,
        armed: Timestamp,
        next: Timestamp,
    ) -> Result<Taken, StoreError> {
        let change = Change::new()
            .set("suspended_until = :next")
            .only_if("suspended_until = :armed")
            .value(":next", millis(next))
            .value(":armed", millis(armed));
        self.change(key, "admit a probe", change).await
    }

    /// Counts a refusal of a key that is not suspended; answers what is known then.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn count_refusal(&self, key: &Fingerprint) -> Result<Option<Usage>, StoreError> {
        let change = Change::new()
            .set("refusals = if_not_exists(refusals, :none) + :one")
            .only_if("attribute_not_exists(suspended_until)")
            .value(":none", number(0))
            .value(":one", number(1));
        match self.change(key, "count a refusal", change).await? {
            Taken::Yes(usage) => Ok(Some(usage)),
            Taken::No(_) => Ok(None),
        }
    }

    /// The vendor has taken the key again before it was suspended.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn forget_refusals(&self, key: &Fingerprint) -> Result<(), StoreError> {
        let change = Change::new()
            .remove("refusals")
            .only_if("attribute_not_exists(suspended_until) AND refusals < :most")
            .value(":most", number(MOST_REFUSALS.into()));
        self.change(key, "forget refusals", change).await.map(drop)
    }

    /// Pauses all calls; never shortens a pause.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn pause(
        &self,
        key: &Fingerprint,
        until: Timestamp,
        unbelievable: Timestamp,
    ) -> Result<(), StoreError> {
        let change = Change::new()
            .set("paused_until = :until")
            .only_if(
                "attribute_not_exists(paused_until) OR paused_until < :until OR paused_until > :no_pause",
            )
            .value(":until", millis(until))
            .value(":no_pause", millis(unbelievable));
        self.change(key, "pause calls", change).await.map(drop)
    }

    /// Suspends a key that was refused often enough, with the event that says so; true for the one who did it.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn suspend(
        &self,
        key: &Fingerprint,
        until: Timestamp,
        probe_wait: Duration,
        event: &VendorEvent,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let change = Change::new()
            .set("suspended_until = :until")
            .set("probe_wait = :wait")
            .only_if("attribute_not_exists(suspended_until) AND refusals >= :most")
            .value(":until", millis(until))
            .value(":wait", seconds(probe_wait))
            .value(":most", number(MOST_REFUSALS.into()));
        self.flip(key, "suspend a key", change, event, now).await
    }

    /// Ends a suspension whose probe was answered; true for the one who did it.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn resume(
        &self,
        key: &Fingerprint,
        armed: Timestamp,
        event: &VendorEvent,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let change = Change::new()
            .remove("suspended_until")
            .remove("probe_wait")
            .remove("refusals")
            .only_if("suspended_until = :armed")
            .value(":armed", millis(armed));
        self.flip(key, "resume a key", change, event, now).await
    }

    /// Ends the suspension of a key that is not in use any more, with the event that says so; true for the one who did it.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn end_suspension(
        &self,
        key: &Fingerprint,
        event: &VendorEvent,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let change = Change::new()
            .remove("suspended_until")
            .remove("probe_wait")
            .remove("refusals")
            .only_if("attribute_exists(suspended_until)");
        self.flip(key, "end a suspension", change, event, now).await
    }

    /// Drops the refusals that were counted of a key that is not in use any more, unless it is suspended.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn drop_refusals(&self, key: &Fingerprint) -> Result<(), StoreError> {
        let change = Change::new().remove("refusals").only_if("attribute_not_exists(suspended_until)");
        self.change(key, "drop refusals", change).await.map(drop)
    }

    /// Removes what is known of a key that is not in use any more, if it is not suspended, has nothing to announce, and would be admitted
    /// a call at once all the same: no pause is on, and its slot has passed. The number of its last event stays, so that no number comes
    /// twice should the key come back.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn forget_key(&self, key: &Fingerprint, now: Timestamp) -> Result<(), StoreError> {
        let mut change = Change::new()
            .only_if("attribute_exists(event_seq)")
            .only_if("attribute_not_exists(suspended_until) AND attribute_not_exists(events)")
            .only_if("attribute_not_exists(paused_until) OR paused_until <= :now")
            .only_if("attribute_not_exists(slot) OR slot < :at")
            .value(":now", millis(now))
            .value(":at", number(now.as_microsecond()));
        let of_lists = [Product::Mobile, Product::Internet].into_iter().flat_map(|product| {
            ["off_until", "said", "failures"].map(|name| format!("list_{product}_{name}"))
        });
        let own_slots = Class::ALL.map(|class| format!("slot_{}", class.as_str()));
        let others = [
            "slot",
            "permits",
            "refusals",
            "probe_wait",
            "paused_until",
            "pages",
            "page_turn",
            "due_at",
            "due_shard",
        ];
        for name in of_lists.chain(own_slots).chain(others.map(str::to_owned)) {
            change = change.remove(name);
        }
        self.change(key, "forget a key", change).await.map(drop)
    }

    /// Turns a product's list off until then, with the event that says so, if it is to be said; false if somebody else was faster.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn distrust_list(
        &self,
        key: &Fingerprint,
        product: Product,
        trouble: &str,
        until: Timestamp,
        event: Option<&VendorEvent>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (off, said) = (format!("list_{product}_off_until"), format!("list_{product}_said"));
        let change = Change::new()
            .set(format!("{off} = :until"))
            .set(format!("{said} = :trouble"))
            .only_if(format!("attribute_not_exists({off}) OR {off} < :until"))
            .value(":until", millis(until))
            .value(":trouble", AttributeValue::S(trouble.to_owned()));
        match event {
            Some(event) => self.flip(key, "turn a list off", change, event, now).await,
            None => Ok(matches!(self.change(key, "turn a list off", change).await?, Taken::Yes(_))),
        }
    }

    /// Turns a product's list off until then; never shortens that.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn pause_list(
        &self,
        key: &Fingerprint,
        product: Product,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let off = format!("list_{product}_off_until");
        let change = Change::new()
            .set(format!("{off} = :until"))
            .only_if(format!("attribute_not_exists({off}) OR {off} < :until"))
            .value(":until", millis(until));
        self.change(key, "pause a list", change).await.map(drop)
    }

    /// Counts a failure of a product's list; answers what is known then.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn count_list_failure(&self, key: &Fingerprint, product: Product) -> Result<Usage, StoreError> {
        let failures = format!("list_{product}_failures");
        let change = Change::new()
            .set(format!("{failures} = if_not_exists({failures}, :none) + :one"))
            .value(":none", number(0))
            .value(":one", number(1));
        match self.change(key, "count a failure of a list", change).await? {
            Taken::Yes(usage) | Taken::No(usage) => Ok(usage),
        }
    }

    /// Forgets what was held against a product's list, unless it is turned off at `now`.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn trust_list(
        &self,
        key: &Fingerprint,
        product: Product,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let [off, said, failures] =
            ["off_until", "said", "failures"].map(|name| format!("list_{product}_{name}"));
        let change = Change::new()
            .only_if(format!("attribute_exists({said}) OR attribute_exists({failures})"))
            .only_if(format!("attribute_not_exists({off}) OR {off} <= :now"))
            .value(":now", millis(now))
            .remove(off)
            .remove(said)
            .remove(failures);
        self.change(key, "turn a list on", change).await.map(drop)
    }

    /// Puts the next probe off after one that was refused.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn lengthen_probe(
        &self,
        key: &Fingerprint,
        armed: Timestamp,
        next: Timestamp,
        wait: Duration,
    ) -> Result<(), StoreError> {
        let change = Change::new()
            .set("suspended_until = :next")
            .set("probe_wait = :wait")
            .only_if("suspended_until = :armed")
            .value(":next", millis(next))
            .value(":wait", seconds(wait))
            .value(":armed", millis(armed));
        self.change(key, "put a probe off", change).await.map(drop)
    }

    /// Events about a key that are not announced yet, ascending.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn vendor_events(&self, key: &Fingerprint) -> Result<Vec<VendorEvent>, StoreError> {
        Ok(self.vendor_outbox(key).await?.events)
    }

    /// The same, with what is known of the key at that moment.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn vendor_outbox(&self, key: &Fingerprint) -> Result<VendorOutbox, StoreError> {
        let item = self.admission(key).await?.unwrap_or_default();
        let events = item.get("events").and_then(|events| events.as_l().ok());
        let events = events.into_iter().flatten().filter_map(|event| read_event(event.as_m().ok()?));
        Ok(VendorOutbox { events: events.collect(), usage: read_usage(&item) })
    }

    /// Notes that the events up to number `seq` are out, unless another has come since: then they are announced again. A key that is
    /// suspended (which no update changes without an event) is due again soon, any other leaves the due index.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn mark_vendor_announced(
        &self,
        key: &Fingerprint,
        seq: u32,
        is_suspended: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let change =
            Change::new().remove("events").only_if("event_seq = :seq").value(":seq", number(seq.into()));
        let change = if is_suspended {
            change
                .set("due_at = :due")
                .set("due_shard = :shard")
                .value(":due", millis(later(now, SUSPENDED_DUE)))
                .value(":shard", AttributeValue::S(SHARD.to_owned()))
        } else {
            change.remove("due_at").remove("due_shard")
        };
        self.change(key, "mark events about the key", change).await.map(drop)
    }

    /// A change of the key's state, with its event, in one update.
    async fn flip(
        &self,
        key: &Fingerprint,
        what: &'static str,
        change: Change,
        event: &VendorEvent,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let due = later(now, OUTBOX_DUE);
        let change = change
            .set("event_seq = :event_seq")
            .set("events = list_append(if_not_exists(events, :no_events), :event)")
            .set("due_at = :due")
            .set("due_shard = :shard")
            .value(":event_seq", number(event.seq.into()))
            .value(":no_events", AttributeValue::L(Vec::new()))
            .value(":event", AttributeValue::L(vec![AttributeValue::M(write_event(event))]))
            .value(":due", millis(due))
            .value(":shard", AttributeValue::S(SHARD.to_owned()));
        let change = if event.seq > 1 {
            change.only_if("event_seq = :before").value(":before", number(i64::from(event.seq) - 1))
        } else {
            change.only_if("attribute_not_exists(event_seq)")
        };
        Ok(matches!(self.change(key, what, change).await?, Taken::Yes(_)))
    }

    async fn admission(&self, key: &Fingerprint) -> Result<Option<Item>, StoreError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(item_key(key)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| StoreError::unavailable("read an admission", &error))?;
        Ok(found.item)
    }

    async fn change(
        &self,
        key: &Fingerprint,
        what: &'static str,
        change: Change,
    ) -> Result<Taken, StoreError> {
        let sets = (!change.sets.is_empty()).then(|| format!("SET {}", change.sets.join(", ")));
        let removes = (!change.removes.is_empty()).then(|| format!("REMOVE {}", change.removes.join(", ")));
        let result = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(item_key(key)))
            .update_expression([sets, removes].into_iter().flatten().collect::<Vec<_>>().join(" "))
            .set_condition_expression(
                (!change.conditions.is_empty()).then(|| change.conditions.join(" AND ")),
            )
            .set_expression_attribute_values(Some(change.values).filter(|values| !values.is_empty()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match result {
            Ok(done) => Ok(Taken::Yes(done.attributes.as_ref().map(read_usage).unwrap_or_default())),
            Err(error) if lost_update(&error) => Ok(Taken::No(self.instead(key, &error).await?)),
            Err(error) => Err(StoreError::unavailable(what, &error)),
        }
    }

    /// What stood in the way: DynamoDB says it with a failed condition, not with a conflict.
    async fn instead(
        &self,
        key: &Fingerprint,
        error: &SdkError<UpdateItemError>,
    ) -> Result<Usage, StoreError> {
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                Ok(failed.item().map(read_usage).unwrap_or_default())
            }
            _ => self.usage(key).await,
        }
    }
}

fn item_key(key: &Fingerprint) -> Item {
    Item::from([
        ("pk".to_owned(), AttributeValue::S(format!("{PREFIX}{key}"))),
        ("sk".to_owned(), AttributeValue::S("ADMISSION".to_owned())),
    ])
}

/// What cannot be read counts as absent: a bucket then starts anew, and the next update writes it whole.
fn read_usage(item: &Item) -> Usage {
    let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<i64>().ok();
    let time = |name: &str| Timestamp::from_millisecond(number(name)?).ok();
    let count = |name: &str| number(name).and_then(|count| u32::try_from(count).ok()).unwrap_or_default();
    Usage {
        slot: number("slot"),
        own_slots: Class::ALL.map(|class| number(&format!("slot_{}", class.as_str()))),
        paused_until: time("paused_until"),
        refusals: count("refusals"),
        suspended_until: time("suspended_until"),
        probe_wait: number("probe_wait").and_then(|wait| u64::try_from(wait).ok()).map(Duration::from_secs),
        event_seq: count("event_seq"),
        pages: item
            .get("pages")
            .and_then(|text| text.as_s().ok())
            .map(|text| read_pages(text))
            .unwrap_or_default(),
        page_turn: number("page_turn").unwrap_or_default(),
        lists: [Product::Mobile, Product::Internet].map(|product| ListTrust {
            off_until: time(&format!("list_{product}_off_until")),
            said: item.get(&format!("list_{product}_said")).and_then(|text| text.as_s().ok()).cloned(),
            failures: count(&format!("list_{product}_failures")),
        }),
        permits: number("permits").unwrap_or_default(),
    }
}

/// `product from to at`, times in milliseconds, one after the other: short, since every admission writes the whole item.
fn write_pages(pages: &[UnderWay]) -> String {
    let page = |UnderWay { page, at }: &UnderWay| {
        let (from, to) = (page.from.as_millisecond(), page.to.as_millisecond());
        format!("{} {from} {to} {}", page.product, at.as_millisecond())
    };
    pages.iter().map(page).collect::<Vec<_>>().join(";")
}

/// What cannot be read is left out: then somebody asks for that page twice.
fn read_pages(text: &str) -> Vec<UnderWay> {
    let page = |text: &str| {
        let mut words = text.split(' ');
        let product = words.next()?.parse().ok()?;
        let mut time = || Timestamp::from_millisecond(words.next()?.parse().ok()?).ok();
        let (from, to, at) = (time()?, time()?, time()?);
        Some(UnderWay { page: Page { product, from, to }, at })
    };
    text.split(';').filter_map(page).collect()
}

fn write_event(event: &VendorEvent) -> Item {
    Item::from([
        ("seq".to_owned(), number(event.seq.into())),
        ("detail_type".to_owned(), AttributeValue::S(event.detail_type.clone())),
        ("occurred_at".to_owned(), millis(event.occurred_at)),
        ("detail".to_owned(), AttributeValue::S(event.detail.clone())),
    ])
}

fn read_event(item: &Item) -> Option<VendorEvent> {
    let text = |name: &str| item.get(name)?.as_s().ok();
    let number = |name: &str| item.get(name)?.as_n().ok();
    Some(VendorEvent {
        seq: number("seq")?.parse().ok()?,
        detail_type: text("detail_type")?.clone(),
        occurred_at: Timestamp::from_millisecond(number("occurred_at")?.parse().ok()?).ok()?,
        detail: text("detail")?.clone(),
    })
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn seconds(duration: Duration) -> AttributeValue {
    AttributeValue::N(duration.as_secs().to_string())
}
