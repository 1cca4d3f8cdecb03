# Copyright: (c) 2026, rayops.cluster contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """Who asks Huawei Cloud, where, and how patiently."""

    DOCUMENTATION = r"""
options:
  access_key:
    description:
      - Access key ID (AK). It needs O(secret_key).
      - Of two environment variables for one option the one named first counts only where the other is not set.
      - What stands in the configuration goes before the environment, and of each of them keys go before a credentials
        file. O(access_key) and O(profile) in one configuration are refused.
    type: raw
    env:
      - name: HW_ACCESS_KEY
      - name: HUAWEICLOUD_SDK_AK
  secret_key:
    description:
      - Secret access key (SK). Better kept in the environment, in O(credentials_file) or in a vault than in this file.
    type: raw
    env:
      - name: HW_SECRET_KEY
      - name: HUAWEICLOUD_SDK_SK
  security_token:
    description:
      - Security token of a temporary access key, such as V({{ lookup('ansible.builtin.env', 'TEAM_TOKEN'\) }}).
      - A token from the environment is not used with an O(access_key) that stands in this file.
    type: raw
    env:
      - name: HW_SECURITY_TOKEN
      - name: HUAWEICLOUD_SDK_SECURITY_TOKEN
  credentials_file:
    description:
      - Credentials file of the SDK, an INI file. Each of its sections is a profile with C(ak) and C(sk), and if needed
        C(security_token), C(project_id) and C(iam_endpoint).
      - Without this option C(~/.huaweicloud/credentials) is read if it exists. Another one is for example
        V(~/.huaweicloud/production).
    type: str
    env:
      - name: HUAWEICLOUD_SDK_CREDENTIALS_FILE
  profile:
    description:
      - Section of the credentials file, such as V(production).
      - Without it C([basic]) is read, the only one that the SDK itself knows.
    type: str
    env:
      - name: HUAWEICLOUD_SDK_PROFILE
  use_instance_metadata:
    description:
      - Ask the instance metadata service for temporary credentials when there are no others, with V(true).
      - For a controller that is itself an ECS instance with an agency. Never asked unless this is V(true).
    type: bool
    default: false
  metadata_endpoint:
    description: Address of the instance metadata service.
    type: str
    default: http://169.254.169.254
  assume_role_agency_name:
    description:
      - Name of an agency of another account, such as V(ray-inventory). The credentials above ask IAM for temporary ones
        of it, and with these all else is asked.
      - >-
        It takes O(assume_role_domain_name) or O(assume_role_domain_id), too.
    type: str
  assume_role_domain_name:
    description: Name of the account that the agency is of, such as V(research-account).
    type: str
  assume_role_domain_id:
    description: ID of that account instead, such as V(0123456789abcdef0123456789abcdef).
    type: str
  project_id:
    description:
      - Project ID of the region, for one region only, such as V(0123456789abcdef0123456789abcdef). Without it IAM is
        asked for the project that is called like the region.
    type: str
    env:
      - name: HW_PROJECT_ID
      - name: HUAWEICLOUD_SDK_PROJECT_ID
  project_ids:
    description:
      - >-
        Project IDs by region, where IAM should not be asked. A list where a region has several projects to list, such
        as V({cn-north-4: [0123456789abcdef0123456789abcdef, fedcba9876543210fedcba9876543210]}).
    type: dict
    default: {}
  regions:
    description:
      - Regions to list, such as V([cn-north-4]). In the environment a list with commas.
      - V(all) lists every region of which IAM shows the credentials a project, with the projects below the region's
        own. Regions that the account has not opened are left out; C(-v) names them.
    type: list
    elements: str
    default: []
    env:
      - name: HW_REGION_NAME
      - name: HUAWEICLOUD_SDK_REGION
  endpoints:
    description:
      - >-
        ECS endpoints by region, for a region that the SDK does not know or another cloud of the same kind, such as
        V({my-region-1: 'https://ecs.my-region-1.example.com'}).
      - In the environment use the SDK's C(HUAWEICLOUD_SDK_REGION_ECS_<REGION>), such as
        C(HUAWEICLOUD_SDK_REGION_ECS_CN_NORTH_4).
    type: dict
    default: {}
  iam_endpoint:
    description:
      - Endpoint of IAM, which knows the project IDs, such as V(https://iam.my-region-1.example.com). The SDK has one
        for each region of the public cloud.
    type: str
    env:
      - name: HUAWEICLOUD_SDK_IAM_ENDPOINT
  enterprise_project_ids:
    description:
      - Only instances of these enterprise projects, such as V([0123abcd-0123-4567-89ab-0123456789ab]), or
        V(all_granted_eps) for up to 100 that the credentials have.
      - Needed when the credentials have rights in some enterprise projects only. In the environment a list with commas,
        which C(-v) shows.
    type: list
    elements: str
    default: []
    env:
      - name: HW_ENTERPRISE_PROJECT_ID
      - name: HUAWEICLOUD_SDK_ENTERPRISE_PROJECT_ID
  accounts:
    description:
      - >-
        Several accounts, or several projects with credentials of their own, in one file. Each has a C(name), by default
        that of its C(profile), and any of the options above, such as V({profile: staging, regions: [cn-east-3]}).
      - What an account does not have is taken from the options of the file. One with credentials of its own takes
        neither keys nor project IDs from there.
    type: list
    elements: dict
    default: []
  timeout:
    description: Seconds to wait for one answer, such as V(10).
    type: int
    default: 30
  retries:
    description:
      - How often a request is tried again after a rate limit, an error of the server or a dropped connection, such as
        V(6). It waits longer each time, at least as long as the server says.
    type: int
    default: 4
  deadline:
    description: Seconds after which a region that is not complete has failed, such as V(60).
    type: int
    default: 300
"""
