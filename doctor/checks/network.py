"""The way from the functions to the databases and to AWS, by description."""

from collections.abc import Iterator
from typing import Any

from doctor.finding import CannotLook, Check, Finding, judged, not_applicable, ok
from doctor.place import Place
from pipeline.database import Role

_SERVICES = {"s3": "Gateway", "secretsmanager": "Interface", "glue": "Interface"}
"""What the functions call, with the type of the endpoint that a VPC needs without a way out."""
_EVERYWHERE = ("0.0.0.0/0", "::/0")


def _placement(place: Place) -> tuple[list[str], list[str]]:
    """Returns the functions' subnets and security groups."""
    network = place.configuration("ingest").get("VpcConfig") or {}
    return network.get("SubnetIds") or [], network.get("SecurityGroupIds") or []


def _without_vpc(place: Place) -> Finding | None:
    if place.is_local:
        return not_applicable("the functions run on this machine")
    if not _placement(place)[0]:
        return not_applicable("the functions are in no VPC")
    return None


def _instances(place: Place) -> dict[Role, dict[str, Any]]:
    """Returns the databases that are instances of Amazon RDS in this account and region."""
    hosts = {role: place.login(role).host for role in Role}
    pages = place.client("rds").get_paginator("describe_db_instances").paginate()
    by_host = {
        one.get("Endpoint", {}).get("Address"): one for page in pages for one in page["DBInstances"]
    }
    return {role: by_host[host] for role, host in hosts.items() if host in by_host}


def parameter_group(place: Place, role: Role) -> str | None:
    """Returns the parameter group of a database that is an instance of Amazon RDS."""
    groups = _instances(place).get(role, {}).get("DBParameterGroups", [])
    return groups[0]["DBParameterGroupName"] if groups else None


def _instances_ready(place: Place) -> Finding:
    if place.is_local:
        return not_applicable("the databases are on this machine, or are not Amazon RDS")
    problems: dict[str, str] = {}
    instances = _instances(place)
    for role, one in instances.items():
        name, state = one["DBInstanceIdentifier"], one["DBInstanceStatus"]
        if state == "stopped":
            problems[f"the {role}'s instance {name} is stopped"] = (
                f"aws rds start-db-instance --db-instance-identifier {name}"
            )
        elif state not in ("available", "backing-up", "modifying"):
            problems[f"the {role}'s instance {name} is {state}"] = (
                f"aws rds wait db-instance-available --db-instance-identifier {name}"
            )
        if not _placement(place)[0] and not one.get("PubliclyAccessible", True):
            subnets = ",".join(
                subnet["SubnetIdentifier"] for subnet in one["DBSubnetGroup"]["Subnets"]
            )
            problems[
                f"the {role}'s instance {name} is private, and the functions are in no VPC"
            ] = place.deploy_with(f"VpcSubnetIds={subnets} VpcSecurityGroupIds=…")
    if not instances:
        return not_applicable("the databases are no instances of Amazon RDS in this account")
    return judged(problems, f"{', '.join(instances)}: available")


def _security_groups(place: Place) -> Finding:
    if (without := _without_vpc(place)) is not None:
        return without
    ec2 = place.client("ec2")
    own = _placement(place)[1]
    instances = _instances(place)
    theirs = {group for one in instances.values() for group in _groups_of(one)}
    found = ec2.describe_security_groups(GroupIds=sorted({*own, *theirs}))["SecurityGroups"]
    groups = {group["GroupId"]: group for group in found}
    problems: dict[str, str] = {}
    for role in Role:
        port = int(place.login(role).keywords.get("port", "5432"))
        if not any(_allows(groups[one]["IpPermissionsEgress"], port, None) for one in own):
            problems[f"no security group of the functions lets them out to port {port}"] = (
                f"aws ec2 authorize-security-group-egress --group-id {own[0]} "
                f"--protocol tcp --port {port} --cidr 0.0.0.0/0"
            )
        if role in instances:
            held = _groups_of(instances[role])
            if not any(_allows(groups[one]["IpPermissions"], port, own) for one in held):
                problems[f"no security group of the {role} lets the functions in at {port}"] = (
                    f"aws ec2 authorize-security-group-ingress --group-id {held[0]} "
                    f"--protocol tcp --port {port} --source-group {own[0]}"
                )
    unknown = [role for role in Role if role not in instances]
    if unknown and not problems:
        raise CannotLook(
            f"the way out is open; the {' and the '.join(unknown)} is no instance of Amazon RDS "
            "in this account, so its own firewall cannot be described"
        )
    return judged(problems, "the functions' and the databases' security groups fit, by description")


def _groups_of(instance: dict[str, Any]) -> list[str]:
    return [group["VpcSecurityGroupId"] for group in instance.get("VpcSecurityGroups", [])]


def _allows(rules: list[dict[str, Any]], port: int, groups: list[str] | None) -> bool:
    """Whether a rule allows TCP at a port, for members of some groups or for any address range.

    A range of addresses counts as allowed: which ones the functions get is their subnets' choice.
    """
    for rule in rules:
        fits = rule["IpProtocol"] == "-1" or (
            rule["IpProtocol"] == "tcp" and rule["FromPort"] <= port <= rule["ToPort"]
        )
        named = {pair["GroupId"] for pair in rule.get("UserIdGroupPairs", [])}
        ranges = [
            *rule.get("IpRanges", []),
            *rule.get("Ipv6Ranges", []),
            *rule.get("PrefixListIds", []),
        ]
        if fits and (ranges or (bool(named) if groups is None else named & {*groups})):
            return True
    return False


def _subnets(place: Place) -> Finding:
    if (without := _without_vpc(place)) is not None:
        return without
    names, _ = _placement(place)
    found = place.client("ec2").describe_subnets(SubnetIds=names)["Subnets"]
    problems = {
        f"subnet {one['SubnetId']} has {one['AvailableIpAddressCount']} free addresses": (
            place.deploy_with("VpcSubnetIds=…")
        )
        for one in found
        if one["AvailableIpAddressCount"] < 1
    }
    return judged(problems, f"{len(found)} subnets have free addresses")


def _endpoints(place: Place) -> Finding:
    if (without := _without_vpc(place)) is not None:
        return without
    ec2 = place.client("ec2")
    names, groups = _placement(place)
    vpc = ec2.describe_subnets(SubnetIds=names[:1])["Subnets"][0]["VpcId"]
    tables = list(_route_tables(ec2, vpc, names))
    if tables and all(_has_way_out(table) for table in tables):
        return ok("each subnet has a route out, by description")
    found = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    served = {one["ServiceName"] for one in found["VpcEndpoints"] if one["State"] == "available"}
    problems: dict[str, str] = {}
    for service, kind in _SERVICES.items():
        name = f"com.amazonaws.{place.session.region_name}.{service}"
        if name not in served:
            where = (
                f"--route-table-ids {' '.join(table['RouteTableId'] for table in tables)}"
                if kind == "Gateway"
                else f"--subnet-ids {' '.join(names)} --security-group-ids {groups[0]} "
                "--private-dns-enabled"
            )
            problems[f"the functions' subnets in {vpc} do not reach {service}"] = (
                f"aws ec2 create-vpc-endpoint --vpc-id {vpc} --service-name {name} "
                f"--vpc-endpoint-type {kind} {where}"
            )
    return judged(problems, f"{vpc} has endpoints for {', '.join(_SERVICES)}, by description")


def _route_tables(ec2: Any, vpc: str, subnets: list[str]) -> Iterator[dict[str, Any]]:
    """Yields the route table of each subnet: its own, or the VPC's main one."""
    tables = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
    links = [(link, table) for table in tables for link in table["Associations"]]
    main = [table for link, table in links if link.get("Main")]
    seen: set[str] = set()
    for subnet in subnets:
        own = [table for link, table in links if link.get("SubnetId") == subnet]
        for table in (own or main)[:1]:
            if table["RouteTableId"] not in seen:
                seen.add(table["RouteTableId"])
                yield table


def _has_way_out(table: dict[str, Any]) -> bool:
    """Whether there is a default route that a function can use: an internet gateway is none."""
    return any(
        route.get("State") == "active"
        and route.get("DestinationCidrBlock", route.get("DestinationIpv6CidrBlock")) in _EVERYWHERE
        and any(
            name in route for name in ("NatGatewayId", "TransitGatewayId", "NetworkInterfaceId")
        )
        for route in table["Routes"]
    )


CHECKS = (
    Check(
        "network.instances",
        "the databases that are instances of Amazon RDS, and whether they are private",
        _instances_ready,
    ),
    Check("network.subnets", "the functions' subnets and their free addresses", _subnets),
    Check(
        "network.security_groups",
        "the security groups of the functions and of the databases, by description",
        _security_groups,
    ),
    Check(
        "network.endpoints",
        "routes and endpoints from the functions' subnets to S3, Secrets Manager and Glue",
        _endpoints,
    ),
)
