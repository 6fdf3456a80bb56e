//! The packets sent lately on one stream, so that what the peer lost can be sent again (RFC 4585 section
//! 6.2.1).

use peerstack::RtpPacket;

/// Packets kept; at 1 Mbit/s about five seconds of video.
pub(crate) const CAPACITY: usize = 512;

/// A ring indexed by sequence number.
#[derive(Debug)]
pub(crate) struct PacketHistory {
    slots: Vec<Option<RtpPacket>>,
}

impl PacketHistory {
    pub(crate) fn new() -> Self {
        Self { slots: vec![None; CAPACITY] }
    }

    fn slot(sequence_number: u16) -> usize {
        usize::from(sequence_number) % CAPACITY
    }

    /// Keeps a packet in place of the one that is [`CAPACITY`] older.
    pub(crate) fn insert(&mut self, packet: RtpPacket) {
        if let Some(slot) = self.slots.get_mut(Self::slot(packet.sequence_number)) {
            *slot = Some(packet);
        }
    }

    /// The packet of that number, if it is still kept.
    pub(crate) fn get(&self, sequence_number: u16) -> Option<&RtpPacket> {
        let slot = self.slots.get(Self::slot(sequence_number))?.as_ref();
        slot.filter(|packet| packet.sequence_number == sequence_number)
    }

    /// Whether this very packet was sent: a number alone comes round again after 65,536 packets.
    pub(crate) fn contains(&self, packet: &RtpPacket) -> bool {
        self.get(packet.sequence_number).is_some_and(|kept| kept.timestamp == packet.timestamp)
    }

    /// Forgets everything: another stream begins.
    pub(crate) fn clear(&mut self) {
        self.slots.fill(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence_number: u16, timestamp: u32) -> RtpPacket {
        RtpPacket { sequence_number, timestamp, ..RtpPacket::default() }
    }

    #[test]
    fn the_oldest_makes_room_for_the_newest() {
        let mut history = PacketHistory::new();
        for number in 0..=CAPACITY as u16 {
            history.insert(packet(number, 0));
        }
        assert!(history.get(0).is_none());
        assert_eq!(history.get(1).map(|packet| packet.sequence_number), Some(1));
        assert_eq!(history.slots.len(), CAPACITY);
    }

    #[test]
    fn numbers_wrap_around() {
        let mut history = PacketHistory::new();
        for number in [65_534, 65_535, 0, 1] {
            history.insert(packet(number, 0));
        }
        assert!([65_534, 65_535, 0, 1].iter().all(|&number| history.get(number).is_some()));
        assert!(history.get(2).is_none());
    }

    #[test]
    fn a_packet_is_known_by_number_and_timestamp() {
        let mut history = PacketHistory::new();
        history.insert(packet(5, 100));
        assert!(history.contains(&packet(5, 100)));
        assert!(!history.contains(&packet(5, 200)));
        assert!(!history.contains(&packet(6, 100)));
        history.clear();
        assert!(!history.contains(&packet(5, 100)));
    }
}
