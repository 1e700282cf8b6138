// Package ansible holds what sets up and looks after the servers of regions, the
// ministry's gateways and the bench on which boxes are enrolled: roles, playbooks
// and example inventories.
//
// It has no code of its own, and it does not drive boxes in schools: nobody reaches
// them there. Its tests run the playbooks on hosts that really boot.
package ansible
