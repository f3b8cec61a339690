//! Codes of DHCP options, by their names in RFC 2132 and successors.

/// Subnet mask.
pub const SUBNET_MASK: u8 = 1;
/// Routers.
pub const ROUTER: u8 = 3;
/// Domain name servers.
pub const DOMAIN_NAME_SERVER: u8 = 6;
/// Host name.
pub const HOST_NAME: u8 = 12;
/// Domain name.
pub const DOMAIN_NAME: u8 = 15;
/// Broadcast address.
pub const BROADCAST_ADDRESS: u8 = 28;
/// NTP servers.
pub const NTP_SERVERS: u8 = 42;
/// Requested address.
pub const REQUESTED_ADDRESS: u8 = 50;
/// Lease time in seconds.
pub const LEASE_TIME: u8 = 51;
/// Which of `file` (1) and `sname` (2) hold options.
pub const OVERLOAD: u8 = 52;
/// Message type.
pub const MESSAGE_TYPE: u8 = 53;
/// Server identifier.
pub const SERVER_IDENTIFIER: u8 = 54;
/// Error message.
pub const MESSAGE: u8 = 56;
/// The largest message that the client takes, IP and UDP headers included.
pub const MAXIMUM_SIZE: u8 = 57;
/// Parameter request list.
pub const PARAMETER_LIST: u8 = 55;
/// T1 in seconds.
pub const RENEWAL_TIME: u8 = 58;
/// T2 in seconds.
pub const REBINDING_TIME: u8 = 59;
/// Vendor-specific information; for PXE clients, the tags of PXE 2.1 section 2.3.
pub const VENDOR_SPECIFIC: u8 = 43;
/// Vendor class.
pub const VENDOR_CLASS: u8 = 60;
/// Client identifier.
pub const CLIENT_IDENTIFIER: u8 = 61;
/// TFTP server name.
pub const TFTP_SERVER: u8 = 66;
/// Boot file name.
pub const BOOT_FILE: u8 = 67;
/// User class (RFC 3004).
pub const USER_CLASS: u8 = 77;
/// Client's fully qualified domain name (RFC 4702).
pub const CLIENT_FQDN: u8 = 81;
/// Relay agent information (RFC 3046).
pub const RELAY_INFORMATION: u8 = 82;
/// Client system architecture (RFC 4578).
pub const ARCHITECTURE: u8 = 93;
/// Client machine identifier (RFC 4578).
pub const MACHINE_IDENTIFIER: u8 = 97;
/// Subnet selection (RFC 3011).
pub const SUBNET_SELECTION: u8 = 118;
/// TFTP server addresses (RFC 5859).
pub const TFTP_SERVER_ADDRESS: u8 = 150;
/// iPXE's encapsulated options.
pub const IPXE: u8 = 175;
