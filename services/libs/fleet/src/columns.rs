//! The devices of one tenant, column by column.

use crate::{
    device::is_online,
    expression::{DeviceView, TextField},
    query::{Cursor, Order, OrderBy, Page, Query, SortKey},
};
use platen_proto::device::v1::{Device, device::State};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::Arc,
};

/// Columns over rows 0, 1, …; a device keeps its row for as long as the index lives.
#[derive(Debug)]
pub(crate) struct Columns {
    tenant: Arc<str>,
    texts: Interner,
    /// Every device in order of its id.
    rows: BTreeMap<Arc<str>, u32>,
    ids: Vec<Arc<str>>,
    serial_numbers: Vec<Box<str>>,
    /// Symbols of the columns in [`INTERNED`], one array per device.
    interned: Vec<[Symbol; INTERNED.len()]>,
    tags: Vec<Box<[Symbol]>>,
    /// Keys are shared, values are often a device's own (asset numbers).
    fields: Vec<Fields>,
    states: Vec<State>,
    may_proxy: Vec<bool>,
    last_inform_us: Vec<i64>,
    /// Seconds; 0: unknown.
    intervals: Vec<u32>,
    /// 64 bits of the etag's hash, which is enough to tell one row's versions apart.
    etags: Vec<u64>,
}

/// Custom fields: symbol of the key, value; by key.
type Fields = Box<[(Symbol, Box<str>)]>;

/// Text columns in which devices share values.
const INTERNED: [TextField; 10] = [
    TextField::Oui,
    TextField::ProductClass,
    TextField::QuarantineReason,
    TextField::Manufacturer,
    TextField::ModelName,
    TextField::SoftwareVersion,
    TextField::HardwareVersion,
    TextField::RootDataModel,
    TextField::Account,
    TextField::ProxiedBy,
];

const fn column(field: TextField) -> Option<usize> {
    let mut at = 0;
    while at < INTERNED.len() {
        if INTERNED[at] as u8 == field as u8 {
            return Some(at);
        }
        at += 1;
    }
    None
}

impl Columns {
    pub(crate) fn new(tenant: &str) -> Self {
        Self {
            tenant: tenant.into(),
            texts: Interner::default(),
            rows: BTreeMap::new(),
            ids: Vec::new(),
            serial_numbers: Vec::new(),
            interned: Vec::new(),
            tags: Vec::new(),
            fields: Vec::new(),
            states: Vec::new(),
            may_proxy: Vec::new(),
            last_inform_us: Vec::new(),
            intervals: Vec::new(),
            etags: Vec::new(),
        }
    }

    /// Number of devices.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Adds or replaces a device. The time of its last Inform never goes back.
    pub(crate) fn upsert(&mut self, id: &str, device: &Device, periodic_inform_interval: u32) {
        let interned = INTERNED.map(|field| self.texts.take(text_of(device, field)));
        let tags = device.tags.iter().map(|tag| self.texts.take(tag)).collect();
        let fields = device
            .fields
            .iter()
            .map(|(key, value)| (self.texts.take(key), value.as_str().into()))
            .collect();
        let last_inform_us = device.last_inform_time.map_or(0, |time| {
            time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000
        });
        let etag = hash(&device.etag);
        if let Some(&row) = self.rows.get(id) {
            let row = row as usize;
            let old = std::mem::replace(&mut self.interned[row], interned);
            let old_tags: Box<[Symbol]> = std::mem::replace(&mut self.tags[row], tags);
            let old_fields: Fields = std::mem::replace(&mut self.fields[row], fields);
            for symbol in old
                .into_iter()
                .chain(old_tags)
                .chain(old_fields.into_iter().map(|(key, _)| key))
            {
                self.texts.release(symbol);
            }
            self.serial_numbers[row] = device.serial_number.as_str().into();
            self.states[row] = device.state();
            self.may_proxy[row] = device.may_proxy;
            self.last_inform_us[row] = self.last_inform_us[row].max(last_inform_us);
            self.intervals[row] = periodic_inform_interval;
            self.etags[row] = etag;
        } else {
            let id: Arc<str> = id.into();
            let row = u32::try_from(self.ids.len())
                .expect("invariant: fewer than 2^32 devices fit into memory");
            self.rows.insert(id.clone(), row);
            self.ids.push(id);
            self.serial_numbers
                .push(device.serial_number.as_str().into());
            self.interned.push(interned);
            self.tags.push(tags);
            self.fields.push(fields);
            self.states.push(device.state());
            self.may_proxy.push(device.may_proxy);
            self.last_inform_us.push(last_inform_us);
            self.intervals.push(periodic_inform_interval);
            self.etags.push(etag);
        }
    }

    /// Notes an Inform of a device; of one that the index does not know nothing is noted.
    pub(crate) fn seen(&mut self, id: &str, time_us: i64) {
        if let Some(&row) = self.rows.get(id) {
            let last = &mut self.last_inform_us[row as usize];
            *last = (*last).max(time_us);
        }
    }

    /// Bytes on the heap: the columns as allocated, texts with their counts, an entry and a half of 24 bytes per device in the ordered map.
    pub(crate) fn memory_bytes(&self) -> usize {
        fn of<T>(column: &Vec<T>) -> usize {
            column.capacity() * size_of::<T>()
        }
        let shared = |text: &Arc<str>| text.len() + 2 * size_of::<usize>();
        let columns = of(&self.ids)
            + of(&self.serial_numbers)
            + of(&self.interned)
            + of(&self.tags)
            + of(&self.fields)
            + of(&self.states)
            + of(&self.may_proxy)
            + of(&self.last_inform_us)
            + of(&self.intervals)
            + of(&self.etags);
        let cells = self
            .serial_numbers
            .iter()
            .map(|text| text.len())
            .sum::<usize>()
            + self
                .tags
                .iter()
                .map(|tags| size_of_val(&**tags))
                .sum::<usize>()
            + self
                .fields
                .iter()
                .map(|fields| {
                    size_of_val(&**fields)
                        + fields.iter().map(|(_, value)| value.len()).sum::<usize>()
                })
                .sum::<usize>()
            + self.ids.iter().map(shared).sum::<usize>();
        let texts = of(&self.texts.texts)
            + of(&self.texts.free)
            + self.texts.symbols.capacity() * (size_of::<(Arc<str>, Symbol)>() + 1)
            + self
                .texts
                .texts
                .iter()
                .map(|(text, _)| shared(text))
                .sum::<usize>();
        columns + cells + texts + self.rows.len() * 36
    }

    /// Whether the index has the device with that etag.
    pub(crate) fn has(&self, id: &str, etag: &str) -> bool {
        self.rows
            .get(id)
            .is_some_and(|&row| self.etags[row as usize] == hash(etag))
    }

    /// The devices that match, in the order asked for, from the cursor on; one pass over the columns.
    pub(crate) fn query(&self, query: &Query) -> Page {
        let matches = |row: u32| {
            query.filter.as_ref().is_none_or(|filter| {
                filter
                    .eval(&Row {
                        columns: self,
                        row: row as usize,
                        now_us: query.now_us,
                    })
                    .unwrap_or(false)
            })
        };
        if query.order.by == OrderBy::Name {
            self.by_name(query, matches)
        } else {
            self.by_key(query, matches)
        }
    }

    /// By id the rows are in order already.
    fn by_name(&self, query: &Query, matches: impl Fn(u32) -> bool) -> Page {
        let mut total = 0;
        let mut ids: Vec<String> = Vec::new();
        let mut more = false;
        let mut visit = |id: &Arc<str>, row: u32, counts: bool| {
            if !matches(row) {
                return;
            }
            total += 1;
            if counts {
                if ids.len() < query.page_size {
                    ids.push(id.to_string());
                } else {
                    more = true;
                }
            }
        };
        let after = query.cursor.as_ref().map(|cursor| cursor.id.as_str());
        if query.order.descending {
            let page = after.map_or(Bound::Unbounded, Bound::Excluded);
            for (id, &row) in self.rows.range::<str, _>((Bound::Unbounded, page)).rev() {
                visit(id, row, true);
            }
            if let Some(after) = after {
                for (id, &row) in self
                    .rows
                    .range::<str, _>((Bound::Included(after), Bound::Unbounded))
                {
                    visit(id, row, false);
                }
            }
        } else {
            let page = after.map_or(Bound::Unbounded, Bound::Excluded);
            for (id, &row) in self.rows.range::<str, _>((page, Bound::Unbounded)) {
                visit(id, row, true);
            }
            if let Some(after) = after {
                for (id, &row) in self
                    .rows
                    .range::<str, _>((Bound::Unbounded, Bound::Included(after)))
                {
                    visit(id, row, false);
                }
            }
        }
        let next = more.then(|| Cursor {
            key: SortKey::None,
            id: ids.last().cloned().unwrap_or_default(),
        });
        Page { ids, next, total }
    }

    /// Keeps the rows that come first after the cursor: all that match are sorted only if they fit on the page.
    fn by_key(&self, query: &Query, matches: impl Fn(u32) -> bool) -> Page {
        let rows = u32::try_from(self.ids.len()).unwrap_or(u32::MAX);
        let mut total = 0;
        let mut page: Vec<u32> = Vec::new();
        let room = query.page_size + 1;
        let order = |a: &u32, b: &u32| {
            query.order.compare(
                (&self.key(*a, query.order), &self.ids[*a as usize]),
                (&self.key(*b, query.order), &self.ids[*b as usize]),
            )
        };
        for row in (0..rows).filter(|&row| matches(row)) {
            total += 1;
            if let Some(after) = &query.cursor {
                let here = (&self.key(row, query.order), self.ids[row as usize].as_ref());
                if query
                    .order
                    .compare(here, (&after.key.borrowed(), &after.id))
                    .is_le()
                {
                    continue;
                }
            }
            page.push(row);
            // Twice the room before it is cut back: each row is moved a constant number of times.
            if page.len() >= room.saturating_mul(2) {
                page.select_nth_unstable_by(room - 1, order);
                page.truncate(room);
            }
        }
        page.sort_unstable_by(order);
        let more = page.len() > query.page_size;
        page.truncate(query.page_size);
        let next = page.last().filter(|_| more).map(|&row| Cursor {
            key: self.key(row, query.order).owned(),
            id: self.ids[row as usize].to_string(),
        });
        Page {
            ids: page
                .iter()
                .map(|&row| self.ids[row as usize].to_string())
                .collect(),
            next,
            total,
        }
    }

    fn key(&self, row: u32, order: Order) -> SortKey<Cow<'_, str>> {
        let text = |field| {
            SortKey::Text(
                Row {
                    columns: self,
                    row: row as usize,
                    now_us: 0,
                }
                .value(field),
            )
        };
        match order.by {
            OrderBy::Name => SortKey::None,
            OrderBy::LastInformTime => SortKey::Time(self.last_inform_us[row as usize]),
            OrderBy::Manufacturer => text(TextField::Manufacturer),
            OrderBy::ModelName => text(TextField::ModelName),
            OrderBy::SoftwareVersion => text(TextField::SoftwareVersion),
            OrderBy::State => text(TextField::State),
        }
    }
}

fn text_of(device: &Device, field: TextField) -> &str {
    match field {
        TextField::Oui => &device.oui,
        TextField::ProductClass => &device.product_class,
        TextField::QuarantineReason => &device.quarantine_reason,
        TextField::Manufacturer => &device.manufacturer,
        TextField::ModelName => &device.model_name,
        TextField::SoftwareVersion => &device.software_version,
        TextField::HardwareVersion => &device.hardware_version,
        TextField::RootDataModel => &device.root_data_model,
        TextField::Account => &device.account,
        TextField::ProxiedBy => &device.proxied_by,
        TextField::Id | TextField::Name | TextField::SerialNumber | TextField::State => "",
    }
}

/// FNV-1a, 64 bit.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// One device of the columns.
#[derive(Clone, Copy)]
struct Row<'c> {
    columns: &'c Columns,
    row: usize,
    now_us: i64,
}

impl<'c> Row<'c> {
    fn value(self, field: TextField) -> Cow<'c, str> {
        let columns = self.columns;
        Cow::Borrowed(match field {
            TextField::Id => &columns.ids[self.row],
            TextField::Name => {
                return Cow::Owned(crate::device::name(&columns.tenant, &columns.ids[self.row]));
            }
            TextField::SerialNumber => &columns.serial_numbers[self.row],
            TextField::State => columns.states[self.row].as_str_name(),
            shared => match column(shared) {
                Some(column) => columns.texts.get(columns.interned[self.row][column]),
                None => "",
            },
        })
    }
}

impl DeviceView for Row<'_> {
    fn text(&self, field: TextField) -> Cow<'_, str> {
        self.value(field)
    }

    fn online(&self) -> bool {
        let columns = self.columns;
        columns.states[self.row] != State::Retired
            && is_online(
                columns.last_inform_us[self.row],
                columns.intervals[self.row],
                self.now_us,
            )
    }

    fn may_proxy(&self) -> bool {
        self.columns.may_proxy[self.row]
    }

    fn last_inform_us(&self) -> i64 {
        self.columns.last_inform_us[self.row]
    }

    fn tag(&self, index: usize) -> Option<&str> {
        self.columns.tags[self.row]
            .get(index)
            .map(|&tag| self.columns.texts.get(tag))
    }

    fn field_key(&self, index: usize) -> Option<&str> {
        self.columns.fields[self.row]
            .get(index)
            .map(|(key, _)| self.columns.texts.get(*key))
    }

    fn field(&self, key: &str) -> Option<&str> {
        let fields = &self.columns.fields[self.row];
        fields
            .iter()
            .find(|(name, _)| self.columns.texts.get(*name) == key)
            .map(|(_, value)| value.as_ref())
    }

    fn parameter(&self, _: &str) -> Option<Cow<'_, str>> {
        None
    }
}

type Symbol = u32;

/// Texts that many devices share, counted, so that what nobody uses any more goes.
#[derive(Debug, Default)]
struct Interner {
    symbols: HashMap<Arc<str>, Symbol>,
    texts: Vec<(Arc<str>, u32)>,
    free: Vec<Symbol>,
}

impl Interner {
    fn take(&mut self, text: &str) -> Symbol {
        if let Some(&symbol) = self.symbols.get(text) {
            self.texts[symbol as usize].1 += 1;
            return symbol;
        }
        let text: Arc<str> = text.into();
        let symbol = if let Some(symbol) = self.free.pop() {
            self.texts[symbol as usize] = (text.clone(), 1);
            symbol
        } else {
            self.texts.push((text.clone(), 1));
            u32::try_from(self.texts.len() - 1)
                .expect("invariant: fewer than 2^32 texts fit into memory")
        };
        self.symbols.insert(text, symbol);
        symbol
    }

    fn release(&mut self, symbol: Symbol) {
        let (text, uses) = &mut self.texts[symbol as usize];
        *uses -= 1;
        if *uses == 0 {
            self.symbols.remove(text);
            *text = Arc::from("");
            self.free.push(symbol);
        }
    }

    fn get(&self, symbol: Symbol) -> &str {
        &self.texts[symbol as usize].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Expression, Scope, device::timestamp};
    use proptest::prelude::*;

    const NOW_US: i64 = 1_795_420_800_000_000;

    fn device(id: &str, model: &str, last_inform_us: i64) -> Device {
        Device {
            name: crate::device::name("t", id),
            oui: "00D09E".into(),
            serial_number: id.into(),
            state: State::Active.into(),
            model_name: model.into(),
            tags: vec!["a".into(), model.into()],
            fields: [("room".to_owned(), id.to_owned())].into(),
            last_inform_time: timestamp(last_inform_us),
            etag: format!("{id}-{model}"),
            ..Device::default()
        }
    }

    fn query(
        filter: Option<&Arc<Expression>>,
        order: &str,
        page_size: usize,
        cursor: Option<Cursor>,
    ) -> Query {
        Query {
            filter: filter.cloned(),
            order: order.parse().unwrap(),
            page_size,
            cursor,
            now_us: NOW_US,
        }
    }

    #[test]
    fn a_row_answers_as_its_resource_does() {
        let mut columns = Columns::new("t");
        let device = Device {
            online: true,
            ..device("X1", "M 9", NOW_US - 1)
        };
        columns.upsert("X1", &device, 60);
        let row = Row {
            columns: &columns,
            row: 0,
            now_us: NOW_US,
        };
        let nothing = |_: &str| None;
        let resource = crate::expression::ResourceView::new(&device, &nothing);
        for field in TextField::ALL {
            assert_eq!(row.text(field), resource.text(field), "{field:?}");
        }
        assert_eq!((row.tag(1), row.tag(2)), (resource.tag(1), resource.tag(2)));
        assert_eq!(
            (row.field_key(0), DeviceView::field(&row, "room")),
            (resource.field_key(0), resource.field("room"))
        );
        assert_eq!(
            (row.online(), row.last_inform_us()),
            (resource.online(), resource.last_inform_us())
        );
    }

    #[test]
    fn a_changed_device_keeps_its_row_and_leaves_no_texts_behind() {
        let mut columns = Columns::new("t");
        columns.upsert("X1", &device("X1", "old", 5), 60);
        let texts = columns.texts.symbols.len();
        columns.seen("X1", 9);
        columns.seen("X2", 9);
        for round in 0..100 {
            columns.upsert("X1", &device("X1", &format!("new {round}"), 7), 60);
        }
        assert_eq!(columns.len(), 1);
        assert_eq!(columns.texts.symbols.len(), texts);
        assert!(
            columns.texts.texts.len() <= 2 * texts,
            "{}",
            columns.texts.texts.len()
        );
        assert_eq!(columns.last_inform_us, [9], "never goes back");
        assert!(
            columns.has("X1", "X1-new 99")
                && !columns.has("X1", "X1-old")
                && !columns.has("X2", "")
        );
    }

    #[test]
    fn an_error_is_no_match() {
        let mut columns = Columns::new("t");
        columns.upsert("X1", &device("X1", "m", 5), 60);
        for (source, expect) in [
            ("device.fields.floor == '1'", 0),
            ("!(device.fields.floor == '1')", 0),
            ("device.fields.room == 'X1'", 1),
        ] {
            let filter = Arc::new(Expression::compile(source, Scope::Fleet).unwrap());
            assert_eq!(
                columns.query(&query(Some(&filter), "", 10, None)).total,
                expect,
                "{source}"
            );
        }
    }

    proptest! {
        /// Whatever the order and the page size: all pages together are the sorted list, each device once.
        #[test]
        fn pages_are_the_list(
            devices in proptest::collection::btree_map("[A-F]{1,2}", ("[m-o]", 0_i64..4), 0..40),
            order in "(name|lastInformTime|modelName|state)( desc)?",
            page_size in 1_usize..7,
        ) {
            let mut columns = Columns::new("t");
            for (id, (model, time)) in &devices {
                columns.upsert(id, &device(id, model, *time), 0);
            }
            let filter = Arc::new(Expression::compile("device.modelName != 'm'", Scope::Fleet).unwrap());
            let mut expect: Vec<(&String, &(String, i64))> = devices.iter().filter(|(_, (model, _))| model != "m").collect();
            expect.sort_by(|a, b| {
                let by = match order.split(' ').next() {
                    Some("lastInformTime") => a.1.1.cmp(&b.1.1),
                    Some("modelName") => a.1.0.cmp(&b.1.0),
                    _ => std::cmp::Ordering::Equal,
                };
                by.then_with(|| a.0.cmp(b.0))
            });
            if order.ends_with(" desc") {
                expect.reverse();
            }

            let mut found = Vec::new();
            let mut cursor = None;
            loop {
                let page = columns.query(&query(Some(&filter), &order, page_size, cursor));
                prop_assert_eq!(page.total, expect.len());
                prop_assert!(page.ids.len() == page_size || page.next.is_none());
                found.extend(page.ids);
                // A cursor survives its way through a page token.
                cursor = page.next.map(|next| Cursor::from_token(&next.to_token()).unwrap());
                if cursor.is_none() {
                    break;
                }
            }
            prop_assert_eq!(found, expect.into_iter().map(|(id, _)| id.clone()).collect::<Vec<_>>());
        }
    }
}
