//! Conversations with clients, as data. Replies are read back by dhcproto, which shares no code with
//! the codec here.

mod booting;
mod conversation;
mod foreign;
mod hostile;
mod identity;
mod leasing;
mod networks;
mod probing;
mod proxy;
