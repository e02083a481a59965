# Puerta. `make help` lists what there is.
CFLAGS ?= -O2 -g
FLAGS := -std=gnu11 -Wall -Wextra -Werror -Isrc -I/usr/include/luajit-2.1 -MMD -MP
SAN := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined
LIBS := -lev -lluajit-5.1 -lpthread -lm
SRC := $(filter-out src/main.c,$(wildcard src/base/*.c src/wire/*.c src/net/*.c src/core/*.c src/script/*.c))
UNITS := $(patsubst tests/unit/%.c,build/unit/%,$(wildcard tests/unit/test_*.c))

.PHONY: build deps test clean help
build: deps $(SRC:src/%.c=build/obj/%.o)

help:
	@echo "make build  compile    make test  all tests    make deps  install what is missing    make clean"

deps:
	@tools/deps.sh

build/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(CFLAGS) -c $< -o $@

build/asan/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(SAN) -c $< -o $@

# An archive: a test links the modules it uses and nothing else.
build/asan/libpuerta.a: $(SRC:src/%.c=build/asan/%.o)
	ar rcs $@ $^

build/unit/%: tests/unit/%.c build/asan/libpuerta.a
	@mkdir -p $(@D)
	$(CC) $(FLAGS) $(SAN) $< build/asan/libpuerta.a $(LIBS) -lcmocka -o $@

test: build $(UNITS)
	@tools/run_units.sh $(UNITS)

clean:
	rm -rf build

-include $(wildcard build/*/*/*.d build/unit/*.d)
