# SPDX-License-Identifier: Apache-2.0
# State: give `terraform init` a -backend-config for a backend of yours, in a file backend.tf.
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.28, < 7.0"
    }
  }
}
