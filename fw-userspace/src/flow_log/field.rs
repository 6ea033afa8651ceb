//! The fields of records, and which of them in which order.

use std::fmt;

use crate::error::{Error, Result};
use crate::nearest::nearest;

macro_rules! fields {
    ($($variant:ident $name:literal $version:literal $says:literal;)*) => {
        /// One field: AWS's by AWS's names
        /// (<https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html>), and those that AWS lacks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Field {
            $(#[doc = $says] $variant,)*
        }

        impl Field {
            /// All of them; AWS's first.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// As it is written.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The version of AWS's format that brought it; 2 for those of fwctl.
            pub const fn version(self) -> u8 {
                match self { $(Self::$variant => $version,)* }
            }

            /// What it is, in a sentence.
            pub const fn says(self) -> &'static str {
                match self { $(Self::$variant => $says,)* }
            }
        }
    };
}

fields! {
    Version "version" 2 "2 for the default format, else the highest version among the chosen fields";
    AccountId "account-id" 2 "what --account-id says";
    InterfaceId "interface-id" 2 "the interface, or the subnet of a router's leg";
    Srcaddr "srcaddr" 2 "source; outbound the interface's primary address";
    Dstaddr "dstaddr" 2 "destination; inbound the interface's primary address";
    Srcport "srcport" 2 "source port; 0 where there is none";
    Dstport "dstport" 2 "destination port; 0 where there is none";
    Protocol "protocol" 2 "IANA number";
    Packets "packets" 2 "packets in the window";
    Bytes "bytes" 2 "bytes of IP in the window";
    Start "start" 2 "Unix seconds of the first packet";
    End "end" 2 "Unix seconds of the last packet";
    Action "action" 2 "ACCEPT or REJECT";
    LogStatus "log-status" 2 "OK, NODATA or SKIPDATA";
    VpcId "vpc-id" 3 "VPC of the interface's subnet";
    SubnetId "subnet-id" 3 "the interface's subnet";
    InstanceId "instance-id" 3 "not known here";
    TcpFlags "tcp-flags" 3 "FIN 1, SYN 2, RST 4, SYN-ACK 18, of all packets together";
    Type "type" 3 "IPv4 or IPv6";
    PktSrcaddr "pkt-srcaddr" 3 "source as it stands in the packet";
    PktDstaddr "pkt-dstaddr" 3 "destination as it stands in the packet";
    Region "region" 4 "region of the VPC";
    AzId "az-id" 4 "not known here";
    SublocationType "sublocation-type" 4 "not known here";
    SublocationId "sublocation-id" 4 "not known here";
    PktSrcAwsService "pkt-src-aws-service" 5 "not known here";
    PktDstAwsService "pkt-dst-aws-service" 5 "not known here";
    FlowDirection "flow-direction" 5 "ingress or egress";
    TrafficPath "traffic-path" 5 "not known here";
    EcsClusterArn "ecs-cluster-arn" 7 "not known here";
    EcsClusterName "ecs-cluster-name" 7 "not known here";
    EcsContainerInstanceArn "ecs-container-instance-arn" 7 "not known here";
    EcsContainerInstanceId "ecs-container-instance-id" 7 "not known here";
    EcsContainerId "ecs-container-id" 7 "not known here";
    EcsSecondContainerId "ecs-second-container-id" 7 "not known here";
    EcsServiceName "ecs-service-name" 7 "not known here";
    EcsTaskDefinitionArn "ecs-task-definition-arn" 7 "not known here";
    EcsTaskArn "ecs-task-arn" 7 "not known here";
    EcsTaskId "ecs-task-id" 7 "not known here";
    RejectReason "reject-reason" 8 "BPA or EC at AWS, which do not exist here";
    ResourceId "resource-id" 9 "not known here";
    EncryptionStatus "encryption-status" 10 "not known here";
    InterfaceType "interface-type" 11 "not known here";
    InstanceTag "instance-tag" 11 "not known here";
    InstanceTag2 "instance-tag-2" 11 "not known here";
    InterfaceTag "interface-tag" 11 "not known here";
    InterfaceTag2 "interface-tag-2" 11 "not known here";
    AsgTag "asg-tag" 11 "not known here";
    AsgTag2 "asg-tag-2" 11 "not known here";
    NextHopInterfaceId "next-hop-interface-id" 11 "not known here";
    NextHopSubnetId "next-hop-subnet-id" 11 "not known here";
    NextHopAzId "next-hop-az-id" 11 "not known here";
    NextHopVpcId "next-hop-vpc-id" 11 "not known here";
    NextHopInterfaceType "next-hop-interface-type" 11 "not known here";
    FwctlVerdict "fwctl-verdict" 2 "allow, deny or would_deny";
    FwctlLayer "fwctl-layer" 2 "the layer that decided";
    FwctlReason "fwctl-reason" 2 "why: the words of counters and of explain";
    FwctlNetworkAcl "fwctl-network-acl" 2 "network ACL whose entry spoke";
    FwctlAclRule "fwctl-acl-rule" 2 "number of that entry, or *";
    FwctlSecurityGroup "fwctl-security-group" 2 "security group whose rule admitted the flow";
    FwctlGroupRule "fwctl-group-rule" 2 "id of that rule";
    FwctlRuleDescription "fwctl-rule-description" 2 "description of the rule that decided";
    FwctlSkippedPackets "fwctl-skipped-packets" 2 "of a SKIPDATA record: how many packets it stands for";
}

/// Fields in an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(Vec<Field>);

impl Default for Format {
    /// The 14 fields of version 2.
    fn default() -> Self {
        Self(Field::ALL.iter().copied().filter(|field| (*field as u8) <= Field::LogStatus as u8).collect())
    }
}

impl Format {
    /// From AWS's `${field} ${field}`; names alone, with spaces or commas between, do as well.
    pub fn parse(text: &str) -> Result<Self> {
        let words = text.split([' ', '\t', ',', '\n']).filter(|word| !word.is_empty());
        let fields: Vec<Field> = words.map(parse_field).collect::<Result<_>>()?;
        if fields.is_empty() {
            return Err(Error::input(
                "a format needs at least one field, such as '${srcaddr} ${dstaddr} ${action}'",
            ));
        }
        if let Some((_, twice)) = (0..).zip(&fields).find(|(place, field)| fields[..*place].contains(field)) {
            return Err(Error::input(format!("the field \"{}\" stands twice in the format", twice.name())));
        }
        Ok(Self(fields))
    }

    /// In their order.
    pub fn fields(&self) -> &[Field] {
        &self.0
    }

    /// What the field [`Field::Version`] says.
    pub fn version(&self) -> u8 {
        self.0.iter().map(|field| field.version()).max().unwrap_or(2)
    }
}

impl fmt::Display for Format {
    /// The names with spaces between: the first line of a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, field) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            f.write_str(field.name())?;
        }
        Ok(())
    }
}

fn parse_field(word: &str) -> Result<Field> {
    let name = word.strip_prefix("${").and_then(|name| name.strip_suffix('}')).unwrap_or(word);
    let known = Field::ALL.iter().copied().find(|field| field.name() == name);
    known.ok_or_else(|| {
        let help = match nearest(name, Field::ALL.iter().map(|field| field.name())) {
            Some(nearest) => format!("did you mean \"{nearest}\"?"),
            None => "`fwctl flow-log --help` lists them".to_owned(),
        };
        Error::input(format!("\"{name}\" is no field of a flow log record; {help}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_that_of_version_2() {
        let format = Format::default();
        assert_eq!(
            format.to_string(),
            "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action \
             log-status"
        );
        assert_eq!(format.version(), 2);
    }

    #[test]
    fn both_ways_to_write_a_format_are_one() {
        let format = Format::parse("${version} ${tcp-flags}  ${flow-direction}").unwrap();
        assert_eq!(format, Format::parse("version,tcp-flags,flow-direction").unwrap());
        assert_eq!(format.version(), 5);
        assert_eq!(Format::parse("srcaddr fwctl-reason").unwrap().version(), 2);
        for field in Field::ALL {
            assert_eq!(Format::parse(field.name()).unwrap().fields(), [*field]);
        }
    }

    #[test]
    fn what_is_no_field_is_named_with_what_was_meant() {
        let error = Format::parse("${srcaddr} ${dstadr}").unwrap_err().to_string();
        assert_eq!(error, "\"dstadr\" is no field of a flow log record; did you mean \"dstaddr\"?");
        assert!(Format::parse(" ").unwrap_err().to_string().contains("at least one field"));
        assert!(Format::parse("srcaddr srcaddr").unwrap_err().to_string().contains("twice"));
    }
}
