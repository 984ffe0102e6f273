//! Pages in the order in which they came, each of which may leave wherever it stands. Page 0, which is the kernel's and
//! never in it, is where the ring begins and ends.

/// A ring of pages.
#[derive(Clone)]
pub(super) struct Ring {
    /// The page that came before and the one that came after.
    links: Vec<[u32; 2]>,
}

impl Ring {
    /// Without pages, for pages below `pages`.
    pub fn new(pages: u32) -> Self {
        Self { links: vec![[0; 2]; pages as usize] }
    }

    /// The page that came first, 0 if there is none.
    pub fn first(&self) -> u32 {
        self.links[0][1]
    }

    /// A page that is not in it comes.
    pub fn push(&mut self, ppn: u32) {
        let last = std::mem::replace(&mut self.links[0][0], ppn);
        self.links[last as usize][1] = ppn;
        self.links[ppn as usize] = [last, 0];
    }

    /// A page that is in it leaves.
    pub fn remove(&mut self, ppn: u32) {
        let [before, after] = std::mem::take(&mut self.links[ppn as usize]);
        self.links[before as usize][1] = after;
        self.links[after as usize][0] = before;
    }

    /// The pages as they came.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let after = |ppn: &u32| Some(self.links[*ppn as usize][1]);
        std::iter::successors(Some(self.first()), after).take_while(|ppn| *ppn != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_stand_as_they_came() {
        let mut ring = Ring::new(9);
        assert_eq!((ring.first(), ring.iter().count()), (0, 0));
        [5, 3, 8, 1].iter().for_each(|ppn| ring.push(*ppn));
        ring.remove(3);
        ring.remove(5);
        ring.push(5);
        assert_eq!(ring.iter().collect::<Vec<_>>(), [8, 1, 5]);
        [8, 5, 1].iter().for_each(|ppn| ring.remove(*ppn));
        assert_eq!((ring.first(), ring.links), (0, vec![[0; 2]; 9]));
    }
}
