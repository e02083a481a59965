# Puerta. `make help` lists what there is.
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc) --no-print-directory
endif
CC ?= cc
CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
BUILD ?= build
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Werror
FLAGS = -std=gnu11 -D_GNU_SOURCE $(WARN) -Isrc -I/usr/include/luajit-2.1 -I/usr/include/libbson-1.0 -MMD -MP
ASAN := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
TSAN := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
LIBS := -lev -lluajit-5.1 -lmicrohttpd -lbson-1.0 -lssl -lcrypto -lsnappy -lz -lzstd -lpthread -lm -ldl
LUA := $(wildcard lua/puerta/*.lua lua/puerta/*/*.lua)
TOP := $(wildcard src/*.c)
SRC := $(wildcard src/base/*.c src/wire/*.c src/net/*.c src/core/*.c src/core/*/*.c src/script/*.c src/ctl/*.c)
UNITS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))
FUZZ := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

.PHONY: build asan tsan units units-tsan deps demo demo-mongodb test bench bench-policy bench-limits bench-mongodb lint fuzz docs install deb test-deb clean help
build: $(BUILD)/puerta ## compile build/puerta (the default)

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

deps: ## install the Debian packages that are missing
	@tools/deps.sh build

$(BUILD)/embedded.c: $(LUA) src/script/puerta_ffi.h tools/embed_lua.sh | deps
	@mkdir -p $(@D)
	@tools/embed_lua.sh $@ $(LUA)

$(BUILD)/admin_page.c: $(wildcard src/page/*) tools/embed_page.sh | deps
	@mkdir -p $(@D)
	@tools/embed_page.sh $@

# Three flavours of the same objects: plain, asan (address + undefined), tsan.
define flavour
$(BUILD)/$(1)/%.o: src/%.c | deps
	@mkdir -p $$(@D)
	@echo "  cc $(1) $$<"
	@$$(CC) $$(FLAGS) $(2) -c $$< -o $$@
$(BUILD)/$(1)/embedded.o $(BUILD)/$(1)/admin_page.o: $(BUILD)/$(1)/%.o: $(BUILD)/%.c
	@mkdir -p $$(@D)
	@$$(CC) $$(FLAGS) $(2) -c $$< -o $$@
$(BUILD)/$(1)/libpuerta.a: $$(SRC:src/%.c=$(BUILD)/$(1)/%.o) $(BUILD)/$(1)/embedded.o $(BUILD)/$(1)/admin_page.o
	@rm -f $$@
	@ar rcs $$@ $$^
endef
$(eval $(call flavour,obj,$$(CFLAGS)))
$(eval $(call flavour,asan,$$(ASAN)))
$(eval $(call flavour,tsan,$$(TSAN)))

$(BUILD)/puerta: $(TOP:src/%.c=$(BUILD)/obj/%.o) $(BUILD)/obj/libpuerta.a
	@echo "  link $@"
	@$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@
$(BUILD)/puerta-asan: $(TOP:src/%.c=$(BUILD)/asan/%.o) $(BUILD)/asan/libpuerta.a
	@echo "  link $@"
	@$(CC) $(ASAN) $^ $(LIBS) -o $@
$(BUILD)/puerta-tsan: $(TOP:src/%.c=$(BUILD)/tsan/%.o) $(BUILD)/tsan/libpuerta.a
	@echo "  link $@"
	@$(CC) $(TSAN) $^ $(LIBS) -o $@
asan: $(BUILD)/puerta-asan ## the binary under AddressSanitizer and UndefinedBehaviorSanitizer
tsan: $(BUILD)/puerta-tsan ## the binary under ThreadSanitizer

# An archive: a test links the modules it uses and nothing else.
$(BUILD)/unit/%: tests/unit/%.c $(BUILD)/asan/libpuerta.a
	@mkdir -p $(@D)
	@echo "  unit $<"
	@$(CC) $(FLAGS) $(ASAN) $< $(BUILD)/asan/libpuerta.a $(LIBS) -lcmocka -o $@
$(BUILD)/unit/test_chunk: LIBS += -Wl,--wrap=malloc
$(BUILD)/unit/test_tls $(BUILD)/unit-tsan/test_tls: LIBS += -Wl,--wrap=pthread_create,--wrap=pt_tls_handshake
units: $(UNITS)

# Those with threads, under ThreadSanitizer.
$(BUILD)/unit-tsan/%: tests/unit/%.c $(BUILD)/tsan/libpuerta.a
	@mkdir -p $(@D)
	@echo "  unit tsan $<"
	@$(CC) $(FLAGS) $(TSAN) $< $(BUILD)/tsan/libpuerta.a $(LIBS) -lcmocka -o $@
TSAN_UNITS := topology log sources sessions sessions_shared health mongo_compress tls
units-tsan: $(TSAN_UNITS:%=$(BUILD)/unit-tsan/test_%)

# libFuzzer needs clang; the sources go in directly, so that they are instrumented.
$(BUILD)/fuzz/%: tests/fuzz/%.c $(wildcard src/wire/*.c src/base/*.c src/wire/*.h)
	@mkdir -p $(@D)
	@echo "  fuzz $<"
	@clang -std=gnu11 -D_GNU_SOURCE -Isrc -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
	  -I/usr/include/libbson-1.0 $< $(wildcard src/wire/*.c) $(wildcard src/base/*.c) -lbson-1.0 -lcrypto -lsnappy -lz -lzstd -lpthread -o $@

FUZZ_SECONDS ?= 300
fuzz: ## each fuzz target for FUZZ_SECONDS (300)
	@tools/deps.sh build fuzz
	@$(MAKE) $(FUZZ:%=$(BUILD)/fuzz/%)
	@tests/fuzz/run.sh $(BUILD)/fuzz $(FUZZ_SECONDS) $(FUZZ)

demo-mongodb: build ## three FerretDB on loopback, puerta before them, a short session; Ctrl-C ends it
	@tools/deps.sh build demo-mongodb
	@tools/demo-mongodb.sh

demo: build ## a Redis Cluster on loopback, puerta before it, a short session; Ctrl-C ends it
	@tools/deps.sh build demo
	@tools/demo.sh

test: ## every test
	@tools/deps.sh build test fuzz
	+@tests/run.sh

bench: build ## CPU per request against HAProxy and twemproxy (long)
	@tools/deps.sh build bench
	@tests/bench/bench.py

bench-limits: build ## what clients that are in notice of a limit that is hit (2 minutes)
	@tools/deps.sh build bench
	@tests/bench/limits.py

bench-policy: build ## the cost of a policy call
	@$(MAKE) $(BUILD)/bench_policy
	@$(BUILD)/bench_policy
$(BUILD)/bench_policy: tests/bench/bench_policy.c $(BUILD)/obj/libpuerta.a
	@$(CC) $(FLAGS) $(CFLAGS) $^ $(LIBS) -o $@

bench-mongodb: build ## CPU per message against HAProxy, before scripted MongoDB servers (3 minutes)
	@tools/deps.sh build bench
	@$(MAKE) $(BUILD)/mongo_load
	@tests/bench/mongo_bench.py
$(BUILD)/mongo_load: tests/bench/mongo_load.c
	@$(CC) $(FLAGS) $(CFLAGS) $< -lbson-1.0 -o $@

lint: ## formatting, dependency direction, generated files up to date
	@tools/deps.sh build test
	@tools/lint.sh

docs: $(BUILD)/puerta ## write conf/REFERENCE.md, the editor stubs, manual pages and completions again
	tools/docs.sh

# What stands in a file as @NAME@ becomes where this installation has it.
place = sed 's|@BINDIR@|$(PREFIX)/bin|g; s|@LIBDIR@|$(PREFIX)/lib|g; s|@SYSCONFDIR@|$(SYSCONFDIR)|g'
install: $(BUILD)/puerta ## to $(DESTDIR)$(PREFIX); the configuration, if there is none yet, to $(DESTDIR)$(SYSCONFDIR)/puerta
	install -D -m 755 $(BUILD)/puerta $(DESTDIR)$(PREFIX)/bin/puerta
	install -d $(DESTDIR)$(PREFIX)/share/puerta/conf $(DESTDIR)$(PREFIX)/share/puerta/examples
	install -m 644 conf/* $(DESTDIR)$(PREFIX)/share/puerta/conf
	install -D -m 644 lua/meta/puerta.lua $(DESTDIR)$(PREFIX)/share/puerta/meta/puerta.lua
	install -m 644 $(wildcard scripts/examples/*.lua) $(DESTDIR)$(PREFIX)/share/puerta/examples
	install -D -m 644 packaging/man/puerta.1 $(DESTDIR)$(PREFIX)/share/man/man1/puerta.1
	install -D -m 644 packaging/man/puerta.lua.5 $(DESTDIR)$(PREFIX)/share/man/man5/puerta.lua.5
	install -D -m 644 packaging/completion/puerta $(DESTDIR)$(PREFIX)/share/bash-completion/completions/puerta
	install -D -m 644 packaging/completion/_puerta $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_puerta
	install -D -m 755 packaging/systemd/reload $(DESTDIR)$(PREFIX)/lib/puerta/reload
	install -d $(DESTDIR)$(UNITDIR)
	$(place) packaging/systemd/puerta.service >$(DESTDIR)$(UNITDIR)/puerta.service
	install -D -m 644 packaging/systemd/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/puerta.conf
	install -D -m 644 packaging/systemd/tmpfiles.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/puerta.conf
	[ -e $(DESTDIR)$(SYSCONFDIR)/puerta/puerta.lua ] || install -D -m 644 packaging/puerta.lua $(DESTDIR)$(SYSCONFDIR)/puerta/puerta.lua

deb: ## a Debian package, build/puerta_*.deb
	@tools/deps.sh build deb
	+@DEB_RULES_REQUIRES_ROOT=no debian/rules clean
	+@DEB_RULES_REQUIRES_ROOT=no debian/rules binary

test-deb: deb ## the package in a bare Debian with systemd: installed, reloaded, upgraded, removed (root; needs Debian's mirror)
	@tools/deps.sh test-deb
	@tests/package/test_deb.sh

clean: ## remove build/
	rm -rf $(BUILD)

-include $(shell find $(BUILD) \( -path $(BUILD)/node -o -path $(BUILD)/venv -o -path $(BUILD)/package \) -prune -o -type f -name '*.d' -print 2>/dev/null)
