//! Conversations with clients, as data. Replies are read back by dhcproto, which shares no code with
//! the codec here.

mod booting;
mod conversation;
mod hostile;
mod leasing;
