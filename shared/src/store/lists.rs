//! Lists of orders: by phase, by reference, and those with an open review. Each is a query of an index, then a read of the orders by their
//! keys. An index lags behind the table: an order that does not fit any more is left out.

use std::collections::HashSet;

use aws_sdk_dynamodb::types::AttributeValue;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;

use super::{
    Item, Store, StoreError,
    due::read_key,
    item::{self, text},
};
use crate::order::{Order, OrderKey, ParkedAs, Product, Ref};

/// Entries of the index that one page reads at most if a filter drops some: about 13 read units.
const MAX_READ: u32 = 1000;
/// Bytes of the orders of a page, about. A Lambda function answers at most 6 MB, and the vendor's offers and message can be long.
const MAX_BYTES: usize = 1024 * 1024;
/// Bytes of an order without them, about.
const SMALL: usize = 2048;
const WHAT: &str = "list orders";

/// Which orders are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderList {
    /// Those in one phase, the one whose status or phase changed longest ago first.
    Phase(InPhase),
    /// Those with this reference, the one that was tracked first first. Orders that versions before this list registered are not in it.
    Ref(Ref),
    /// Those with an open review, the one with the oldest review first. An order with several is listed once in a page. Reviews that versions
    /// before this list raised are not in it.
    OpenReview,
}

/// The orders in one phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InPhase {
    /// `in_flight`, `parked` or `final`.
    pub phase: &'static str,
    /// Only those that are parked so.
    pub parked_as: Option<ParkedAs>,
    /// Only those whose status or phase did not change after this moment.
    pub until: Option<Timestamp>,
}

/// A page of orders, and the place where the next one begins; `None`: this is the last one.
pub type OrderPage = (Vec<Order>, Option<OrderCursor>);

/// A place in a list of orders: the keys of an entry in the list's index. Opaque to users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderCursor {
    /// The partition of the list's index: the phase, the reference, or that of reviews.
    partition: String,
    pk: String,
    sk: String,
    /// The sort key of the index.
    at: String,
}

impl OrderCursor {
    /// The cursor as text: base64 that is safe in a URL.
    pub fn write(&self) -> String {
        let Self { partition, pk, sk, at } = self;
        URL_SAFE_NO_PAD.encode(format!("{partition}\n{pk}\n{sk}\n{at}"))
    }

    /// Reads what [`Self::write`] wrote for this list, whatever its filters; `None` for any other text.
    pub fn read(text: &str, list: &OrderList) -> Option<Self> {
        let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let [partition, pk, sk, at] = decoded.split('\n').collect::<Vec<_>>().try_into().ok()?;
        let about = read_key(&Item::from([("pk".to_owned(), self::text(pk))]))?;
        let fits_the_index = match list {
            OrderList::Phase(_) => sk == item::ORDER && at.parse::<i64>().is_ok(),
            OrderList::Ref(_) => sk == item::ORDER && at.strip_suffix(pk).is_some_and(is_time),
            OrderList::OpenReview => is_event(sk) && at.parse::<i64>().is_ok(),
        };
        let is_of_list = partition == list.index().partition.1;
        let is_written = is_of_list && pk == item::partition(&about) && fits_the_index;
        is_written.then(|| Self {
            partition: partition.to_owned(),
            pk: pk.to_owned(),
            sk: sk.to_owned(),
            at: at.to_owned(),
        })
    }
}

/// Whether `text` is `{milliseconds, 13 digits}#`.
fn is_time(text: &str) -> bool {
    text.len() == 14
        && text.strip_suffix('#').is_some_and(|time| time.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether `text` is the sort key of an event.
fn is_event(text: &str) -> bool {
    let digits = text.strip_prefix("EVENT#").unwrap_or_default();
    (6..=10).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// How a list is read from its index.
struct Index {
    name: &'static str,
    partition: (&'static str, String),
    /// Name of the sort key, and whether it is a number.
    sort: (&'static str, bool),
}

impl OrderList {
    fn index(&self) -> Index {
        match self {
            Self::Phase(InPhase { phase, .. }) => Index {
                name: "phases",
                partition: ("phase", (*phase).to_owned()),
                sort: ("changed_at", true),
            },
            Self::Ref(reference) => Index {
                name: "feed",
                partition: ("feed", item::ref_partition(reference)),
                sort: ("feed_at", false),
            },
            Self::OpenReview => Index {
                name: "due",
                partition: ("due_shard", item::OPEN_REVIEWS.to_owned()),
                sort: ("due_at", true),
            },
        }
    }

    /// Whether the order belongs to the list as it is stored now.
    fn has(&self, order: &Order) -> bool {
        match self {
            Self::Phase(InPhase { phase, parked_as, until }) => {
                order.phase.as_str() == *phase
                    && parked_as.is_none_or(|parked_as| order.phase.parked_as() == Some(parked_as))
                    && until.is_none_or(|until| order.changed_at <= until)
            }
            Self::Ref(reference) => order.reference.as_ref() == Some(reference),
            Self::OpenReview => !order.open_reviews.is_empty(),
        }
    }

    /// The moment after which nothing is listed.
    fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Phase(InPhase { until, .. }) => *until,
            Self::Ref(_) | Self::OpenReview => None,
        }
    }

    /// Whether the page after `cursor` is empty: DynamoDB refuses a start outside the range.
    fn ends_before(&self, cursor: &OrderCursor) -> bool {
        self.until().is_some_and(|until| cursor.at.parse().is_ok_and(|at: i64| at > until.as_millisecond()))
    }
}

impl Store {
    /// A page of a list: at most `limit` orders (1 to 100) and about 1 MB, of this product only if one is given. A page can have fewer, even
    /// none, although more follow: an order that does not fit any more is left out, and so is one that cannot be read, which is logged.
    ///
    /// # Errors
    /// If DynamoDB fails.
    pub async fn orders_page(
        &self,
        list: &OrderList,
        product: Option<Product>,
        after: Option<OrderCursor>,
        limit: u32,
    ) -> Result<OrderPage, StoreError> {
        if after.as_ref().is_some_and(|after| list.ends_before(after)) {
            return Ok((Vec::new(), None));
        }
        let (mut entries, mut next) = self.query_list(list, product, after, limit).await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        if entries.len() > most {
            entries.truncate(most);
            next = entries.last().and_then(|last| cursor(list, last));
        }
        let mut named = HashSet::new();
        let keys = entries.iter().filter_map(read_key).filter(|key| named.insert(key.clone()));
        let keys: Vec<OrderKey> =
            keys.filter(|key| product.is_none_or(|product| key.product == product)).collect();
        let mut orders = self.load_listed(&keys).await?;
        orders.retain(|order| list.has(order));
        let fitting = fitting(&orders);
        if let Some(order) = orders.get(fitting) {
            let place = entries.iter().position(|entry| read_key(entry).as_ref() == Some(&order.key));
            entries.truncate(place.unwrap_or_default());
            next = entries.last().and_then(|last| cursor(list, last));
            orders.truncate(fitting);
        }
        Ok((orders, next))
    }

    /// The entries of the list's index, and where the next page begins.
    async fn query_list(
        &self,
        list: &OrderList,
        product: Option<Product>,
        after: Option<OrderCursor>,
        limit: u32,
    ) -> Result<(Vec<Item>, Option<OrderCursor>), StoreError> {
        let Index { name, partition: (hash, partition), sort: (sort, _) } = list.index();
        let mut condition = "#hash = :hash".to_owned();
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(name)
            .expression_attribute_names("#hash", hash)
            .expression_attribute_values(":hash", text(partition));
        if let Some(until) = list.until() {
            condition.push_str(" AND #sort <= :until");
            query = query
                .expression_attribute_names("#sort", sort)
                .expression_attribute_values(":until", item::millis(until));
        }
        let filters = filters(list, product);
        let read = if filters.is_empty() { limit } else { MAX_READ };
        if !filters.is_empty() {
            let equal = |(name, _): &(&str, String)| format!("#{name} = :{name}");
            query = query.filter_expression(filters.iter().map(equal).collect::<Vec<_>>().join(" AND "));
        }
        for (name, value) in filters {
            query = query
                .expression_attribute_names(format!("#{name}"), name)
                .expression_attribute_values(format!(":{name}"), text(value));
        }
        let page = query
            .key_condition_expression(condition)
            .limit(i32::try_from(read).unwrap_or(i32::MAX))
            .set_exclusive_start_key(after.map(|after| start(list, after)))
            .send()
            .await
            .map_err(|error| StoreError::unavailable(WHAT, &error))?;
        let next = page.last_evaluated_key().and_then(|last| cursor(list, last));
        Ok((page.items.unwrap_or_default(), next))
    }

    /// Loads these orders, in their order.
    async fn load_listed(&self, keys: &[OrderKey]) -> Result<Vec<Order>, StoreError> {
        let found = self.batch_get(keys.iter().map(item::order_key).collect(), WHAT).await?;
        if found.is_partial {
            return Err(StoreError::Unavailable {
                what: WHAT,
                why: "DynamoDB left keys unprocessed".to_owned(),
            });
        }
        let mut orders = Vec::with_capacity(keys.len());
        for stored in found.found {
            let Some(key) = read_key(&stored) else { continue };
            match item::read_order(&key, stored) {
                Ok(order) => orders.push(order),
                Err(error) => {
                    tracing::error!(order = %key, %error, "an order could not be read and is not listed")
                }
            }
        }
        orders.sort_by_key(|order| keys.iter().position(|key| *key == order.key));
        Ok(orders)
    }
}

/// How many of these orders fit into a page: at least one.
fn fitting(orders: &[Order]) -> usize {
    let mut bytes = 0;
    let fits = |order: &&Order| {
        let facts = &order.facts;
        let offers = facts.suggested_offers.as_ref().map_or(0, |offers| offers.get().len());
        bytes += SMALL + offers + facts.refund_message.as_ref().map_or(0, String::len);
        bytes <= MAX_BYTES
    };
    orders.iter().take_while(fits).count().max(1)
}

/// Attributes of the index `phases` and their values, by which DynamoDB filters.
fn filters(list: &OrderList, product: Option<Product>) -> Vec<(&'static str, String)> {
    let OrderList::Phase(InPhase { parked_as, .. }) = list else { return Vec::new() };
    let product = product.map(|product| ("product", product.to_string()));
    product
        .into_iter()
        .chain(parked_as.map(|parked_as| ("parked_as", parked_as.as_str().to_owned())))
        .collect()
}

/// The key at which the next page begins.
fn start(list: &OrderList, after: OrderCursor) -> Item {
    let Index { partition: (hash, partition), sort: (sort, is_number), .. } = list.index();
    let at = if is_number { AttributeValue::N(after.at) } else { text(after.at) };
    Item::from([
        ("pk".to_owned(), text(after.pk)),
        ("sk".to_owned(), text(after.sk)),
        (hash.to_owned(), text(partition)),
        (sort.to_owned(), at),
    ])
}

/// The place after an entry of the list's index.
fn cursor(list: &OrderList, entry: &Item) -> Option<OrderCursor> {
    let part = |name: &str| match entry.get(name)? {
        AttributeValue::S(value) | AttributeValue::N(value) => Some(value.clone()),
        _ => None,
    };
    let (sort, _) = list.index().sort;
    let (_, partition) = list.index().partition;
    Some(OrderCursor { partition, pk: part("pk")?, sk: part("sk")?, at: part(sort)? })
}

#[cfg(test)]
mod tests;
