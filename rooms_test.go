package main

import (
	"errors"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// rooms says which room may use which. It is a statement of policy: do not change
// it to make a build pass. A room is the files that share the first word of their
// names: pop3.go and pop3_login.go are the room "pop3".
//
// A line "a: b c" lets the room a use the rooms b and c, and no other. Every room
// is used only by rooms above it, so the list also reads as the layers.
const rooms = `
	main:    cmd
	cmd:     server config transfer retain spool deliver auth mailbox maildir address log
	server:  web spool retain smtp pop3 imap mdns deliver mailbox auth config conn file log
	web:     deliver mailbox auth address conn log
	smtp:    deliver auth address conn log
	pop3:    mailbox message auth conn log
	imap:    mailbox message auth conn log
	spool:   deliver address file log
	deliver: mailbox message address log
	retain:  mailbox log
	transfer: mailbox maildir message auth file log
	mailbox: maildir message log
	maildir: file log
	auth:    file log
	config:  address
	mdns:    log
	conn:    log
	message:
	address:
	file:
	log:
`

// roomsWords are the rooms whose names in Go do not begin with the room's own word.
var roomsWords = map[string]string{"pop3": "pop"}

// roomsOld are names from before the rule, on their way out.
var roomsOld = []string{"errlinetoolong", "errwoken", "errshutdown", "syncdir"}

const roomsLongest = 120 // lines of a function: the longest that is still read whole

// roomsAllowed reads the policy: allowed[a][b] says that a may use b.
func roomsAllowed(t *testing.T) map[string]map[string]bool {
	allowed := map[string]map[string]bool{}
	for _, line := range strings.Split(strings.TrimSpace(rooms), "\n") {
		a, used, _ := strings.Cut(strings.TrimSpace(line), ":")
		allowed[a] = map[string]bool{a: true}
		for _, b := range strings.Fields(used) {
			if allowed[b] != nil {
				t.Errorf("rooms: %s uses %s, which stands above it", a, b)
			}
			allowed[a][b] = true
		}
	}
	return allowed
}

// TestRooms holds the walls: every use of a type, function, constant, variable,
// method or field of another room must be allowed. The files of all systems that
// we build for are looked at.
func TestRooms(t *testing.T) {
	allowed := roomsAllowed(t)
	packages := roomsImporter(t)
	wrong := map[string]bool{}
	for _, system := range []string{"linux", "darwin", "freebsd"} {
		fset := token.NewFileSet()
		files := roomsParse(t, fset, system)
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
		conf := types.Config{Importer: packages, Error: func(error) {}} // the compiler tells errors better
		pkg, _ := conf.Check("main", fset, files, info)
		for id, obj := range info.Uses {
			if obj.Pkg() != pkg || !roomsOutlives(obj, pkg) {
				continue
			}
			at, def := fset.Position(id.Pos()), fset.Position(obj.Pos())
			if from, to := room(at.Filename), room(def.Filename); !allowed[from][to] {
				wrong[at.String()+": "+from+" may not use "+to+" ("+obj.Name()+")"] = true
			}
		}
	}
	for _, w := range slices.Sorted(maps.Keys(wrong)) {
		t.Error(w)
	}
}

// roomsOutlives tells whether obj can be seen outside of the function that it stands in.
func roomsOutlives(obj types.Object, pkg *types.Package) bool {
	switch o := obj.(type) {
	case *types.Func:
		return true
	case *types.Var:
		return o.IsField() || o.Parent() == pkg.Scope()
	}
	return obj.Parent() == pkg.Scope()
}

// TestRoomNames wants a known room in each file's name and the room's word in each
// package-level name, for a flat package has no other qualifier.
func TestRoomNames(t *testing.T) {
	allowed := roomsAllowed(t)
	fset := token.NewFileSet()
	for _, f := range roomsParse(t, fset, "") {
		name := fset.Position(f.Package).Filename
		r := room(name)
		if allowed[r] == nil {
			t.Errorf("%s: there is no room %q; see rooms in rooms_test.go", name, r)
			continue
		}
		for _, id := range roomsDeclared(f) {
			if !roomsOwnName(r, id.Name) {
				t.Errorf("%s: the name %s does not carry the word of the room %s", fset.Position(id.Pos()), id.Name, r)
			}
		}
	}
}

// roomsOwnName tells whether a package-level name carries the room's word: first, or
// after "new" or "err".
func roomsOwnName(r, name string) bool {
	word := r
	if w := roomsWords[r]; w != "" {
		word = w
	}
	name = strings.ToLower(name)
	for _, before := range []string{"", "new", "err"} {
		if rest, ok := strings.CutPrefix(name, before); ok && strings.HasPrefix(rest, word) {
			return true
		}
	}
	return name == "_" || name == "init" || slices.Contains(roomsOld, name)
}

// roomsDeclared gives a file's package-level names, methods left out.
func roomsDeclared(f *ast.File) (ids []*ast.Ident) {
	for _, decl := range f.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				ids = append(ids, d.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					ids = append(ids, s.Name)
				case *ast.ValueSpec:
					ids = append(ids, s.Names...)
				}
			}
		}
	}
	return ids
}

// TestRoomFunctions wants functions that can be read whole, and the name cmdX for
// commands only: a method of a door that a command table names, or a subcommand in
// a file cmd_*.go.
func TestRoomFunctions(t *testing.T) {
	command := regexp.MustCompile(`^cmd[A-Z]`)
	fset := token.NewFileSet()
	files := roomsParse(t, fset, "")
	named := map[string]bool{} // what stands as (*popSession).cmdStat in a table
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if _, ok := sel.X.(*ast.ParenExpr); ok {
					named[room(fset.Position(sel.Pos()).Filename)+"."+sel.Sel.Name] = true
				}
			}
			return true
		})
	}
	for _, f := range files {
		for _, decl := range f.Decls {
			d, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			at, end := fset.Position(d.Pos()), fset.Position(d.End())
			if lines := end.Line - at.Line + 1; lines > roomsLongest {
				t.Errorf("%s: %s has %d lines, more than %d", at, d.Name.Name, lines, roomsLongest)
			}
			if r := room(at.Filename); command.MatchString(d.Name.Name) && r != "cmd" && !(d.Recv != nil && named[r+"."+d.Name.Name]) {
				t.Errorf("%s: %s is named like a command and stands in no command table", at, d.Name.Name)
			}
		}
	}
}

// roomsParse reads the files that are not tests: those that a system builds, or all
// if system is "".
func roomsParse(t *testing.T, fset *token.FileSet, system string) (files []*ast.File) {
	names, err := filepath.Glob("*.go")
	if err != nil || len(names) == 0 {
		t.Fatalf("no Go files here: %v", err)
	}
	context := build.Default
	context.GOOS = system
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if system != "" {
			if match, err := context.MatchFile(".", name); err != nil {
				t.Fatal(err)
			} else if !match {
				continue
			}
		}
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

func room(file string) string {
	first, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".go"), "_")
	return first
}

// roomsPackages imports what the go command has built, and an empty package where
// it has not (another system's, or there is no go command, as under an emulator).
type roomsPackages struct {
	built types.Importer
	empty map[string]*types.Package
}

func roomsImporter(t *testing.T) *roomsPackages {
	exports := map[string]string{}
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", ".").Output()
	if err != nil {
		t.Logf("go list: %v; names are resolved without the imported packages", err)
	}
	for line := range strings.Lines(string(out)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		exports[name] = file
	}
	lookup := func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, errors.New("not built")
		}
		return os.Open(exports[path])
	}
	return &roomsPackages{importer.ForCompiler(token.NewFileSet(), "gc", lookup), map[string]*types.Package{}}
}

func (p *roomsPackages) Import(name string) (*types.Package, error) {
	if pkg, err := p.built.Import(name); err == nil {
		return pkg, nil
	}
	if p.empty[name] == nil {
		p.empty[name] = types.NewPackage(name, path.Base(name))
		p.empty[name].MarkComplete()
	}
	return p.empty[name], nil
}
