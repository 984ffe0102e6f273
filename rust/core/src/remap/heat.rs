//! How hot the pages of one virtual machine are: recent transfers and copies of each page that had any (§7).

use hashbrown::HashMap;

use crate::types::Ppn;

/// What is remembered of a page in I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The page.
    pub ppn: Ppn,
    /// Recent transfers.
    pub transfers: u32,
    /// Recent transfers that were copied.
    pub copies: u32,
    /// Copies to come before it is tried again to move it.
    pub wait: u32,
}

/// The records of one virtual machine. Places are good until the next [`Heat::cool`].
#[derive(Clone, Debug, Default)]
pub struct Heat {
    records: Vec<Record>,
    places: HashMap<u32, u32>,
}

impl Heat {
    /// The place of a page's record, a new one if it has none.
    pub fn place(&mut self, ppn: Ppn) -> u32 {
        let next = self.records.len() as u32;
        let place = *self.places.entry(ppn.0).or_insert(next);
        if place == next {
            self.records.push(Record { ppn, transfers: 0, copies: 0, wait: 0 });
        }
        place
    }

    /// The record in a place.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn at(&mut self, place: u32) -> &mut Record {
        &mut self.records[place as usize]
    }

    /// Recent transfers of a page.
    #[must_use]
    pub fn transfers(&self, ppn: Ppn) -> u32 {
        self.places.get(&ppn.0).map_or(0, |place| self.records[*place as usize].transfers)
    }

    /// All records, in no order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Halves all counts and forgets the pages that have none left.
    pub fn cool(&mut self) {
        for record in &mut self.records {
            record.transfers /= 2;
            record.copies /= 2;
        }
        self.records.retain(|record| record.transfers > 0);
        self.places.clear();
        self.places.extend((0..).zip(&self.records).map(|(place, record)| (record.ppn.0, place)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_halve_and_pages_without_any_are_forgotten() {
        let mut heat = Heat::default();
        for (ppn, transfers, copies) in [(7, 1, 1), (3, 9, 5), (1, 2, 0)] {
            let place = heat.place(Ppn(ppn));
            *heat.at(place) = Record { ppn: Ppn(ppn), transfers, copies, wait: 4 };
        }
        heat.cool();
        assert_eq!(heat.records().len(), 2);
        let place = heat.place(Ppn(3));
        assert_eq!(*heat.at(place), Record { ppn: Ppn(3), transfers: 4, copies: 2, wait: 4 });
        assert_eq!([7, 3, 1].map(|ppn| heat.transfers(Ppn(ppn))), [0, 4, 1]);
        (0..3).for_each(|_| heat.cool());
        assert!(heat.records().is_empty());
        assert_eq!(heat.place(Ppn(7)), 0);
    }
}
