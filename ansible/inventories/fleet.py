#!/usr/bin/env python3
"""The boxes of a region, as the region knows them, for Ansible.

It asks the region with the operator's identity of whoever runs it (PREAU_OPERATOR, or
where preau looks for it), and groups the boxes by school and by state. Where a box can
be reached is not known to the region: beside it goes an inventory that says so, for
instance through a jump host.

    ansible-inventory -i inventories/fleet.py --graph
    ansible-playbook -i inventories/fleet.py -i my-region decommission.yml -e ...
"""

import json
import os
import re
import subprocess
import sys


def main():
    if "--host" in sys.argv:
        # Everything is in _meta already.
        print("{}")
        return 0
    ask = [os.environ.get("PREAU", "preau"), "boxes", "--json"]
    try:
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
    except OSError as err:
        print(f"fleet.py: {ask[0]} can't be run: {err}. Say where it is in PREAU.", file=sys.stderr)
        return 1
    if done.returncode != 0:
        print(f"fleet.py: {done.stderr.strip()}", file=sys.stderr)
        return 1
    groups = {"_meta": {"hostvars": {}}, "fleet": {"hosts": []}}
    for box in json.loads(done.stdout):
        name = box["name"]
        groups["fleet"]["hosts"].append(name)
        groups["_meta"]["hostvars"][name] = {
            "box_name": name,
            "box_school": box.get("school", ""),
            "box_state": box.get("state", ""),
            "box_version": box.get("version", ""),
        }
        for kind in ("school", "state"):
            group = kind + "_" + re.sub(r"[^A-Za-z0-9_]", "_", box.get(kind) or "none")
            groups.setdefault(group, {"hosts": []})["hosts"].append(name)
    json.dump(groups, sys.stdout, indent=2, ensure_ascii=False)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
