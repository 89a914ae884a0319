package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What users have chosen for themselves stands among the extra fields of their lines, as app passwords do:
//
//	pop3_on_delete=trash
//
// No login stands on it, so a change ends none.

const authOnDeleteField = "pop3_on_delete="

// authOnDeleteWays are the words that it may have: those of [pop3] on_delete, which counts without it.
var authOnDeleteWays = []string{"hide", "trash", "archive", "delete"}

var errAuthOnDelete = errors.New("this is no way for what POP3 deletes")

// onDelete is what becomes of what POP3 deletes of a user's mail: as the user has chosen, or otherwise.
func (a *auth) onDelete(user, otherwise string) string {
	if u := a.known(user); u != nil && slices.Contains(authOnDeleteWays, u.onDelete) {
		return u.onDelete
	}
	return otherwise
}

// chooseOnDelete keeps a user's choice; "" takes it back. errAuthOnDelete, errAuthNoUser.
func (a *auth) chooseOnDelete(user, way string) error {
	if way != "" && !slices.Contains(authOnDeleteWays, way) {
		return errAuthOnDelete
	}
	return authEditFields(a.settings.path, user, func(_ *authUser, fields []string) ([]string, error) {
		fields = slices.DeleteFunc(fields, func(field string) bool { return strings.HasPrefix(field, authOnDeleteField) })
		if way != "" {
			fields = append(fields, authOnDeleteField+way)
		}
		return fields, nil
	})
}

// choices gives what is wrong with a user's choices; "" if nothing is.
func (u *authUser) choices() string {
	if u.onDelete == "" || slices.Contains(authOnDeleteWays, u.onDelete) {
		return ""
	}
	return fmt.Sprintf("user %q: %s cannot be %q, it is %s; so [pop3] on_delete counts",
		u.name, strings.TrimSuffix(authOnDeleteField, "="), u.onDelete, strings.Join(authOnDeleteWays, ", "))
}
