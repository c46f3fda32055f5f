//! Networks in CIDR notation (RFC 4632, RFC 4291), as settings list them.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::setting::SettingError;

/// A list of networks: `10.0.0.0/8,2001:db8::/32,192.0.2.7`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Parses a list with commas between its members. An address alone is a network of one; bits
    /// behind the prefix do not matter.
    ///
    /// # Errors
    ///
    /// [`SettingError::NotANetwork`] names the first member that is none.
    pub fn parse(list: &str) -> Result<Self, SettingError> {
        let parse = |member: &str| {
            let net = member.parse().or_else(|_| member.parse::<IpAddr>().map(IpNet::from));
            net.map_err(|_| SettingError::NotANetwork(member.to_owned()))
        };
        list.split(',').map(|member| parse(member.trim())).collect::<Result<_, _>>().map(Networks)
    }

    /// Whether one of them has `address`. An IPv4-mapped address is an IPv4 one.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let networks = Networks::parse("10.0.0.0/8, 192.0.2.7,2001:db8::/32").unwrap();
        for (address, is_in) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), is_in, "{address}");
        }
        assert!(Networks::parse("0.0.0.0/0").unwrap().contains("9.9.9.9".parse().unwrap()));
    }

    #[test]
    fn member_that_is_no_network_is_named() {
        for (list, member) in
            [("", ""), ("10.0.0.0/8,", ""), ("10.0.0.0/33", "10.0.0.0/33"), ("::1,host", "host")]
        {
            let error = SettingError::NotANetwork(member.to_owned());
            assert_eq!(Networks::parse(list), Err(error), "{list}");
        }
    }
}
