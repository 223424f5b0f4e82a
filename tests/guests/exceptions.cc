/* SPDX-License-Identifier: MIT */
/* C++ exceptions through known numbers of frames, some with something to destroy; see test_stacks.py. */
enum { ROUNDS = 41, DEPTH = 7 };

static volatile long touched;

struct Destroyed {
	~Destroyed();
};

/* Names as they are written, and every call a call. */
extern "C" {

__attribute__((noinline)) void stacks_leaf()
{
	touched = touched + 1;
}

__attribute__((noinline)) void stacks_throw(int depth)
{
	if (depth == 1)
		throw depth;
	stacks_throw(depth - 1);
	touched = touched + 1;
}

/* Each frame is gone back to, its leaf called, and the exception thrown on. */
__attribute__((noinline)) void stacks_cleaned(int depth)
{
	Destroyed here;

	if (depth == 1)
		throw depth;
	stacks_cleaned(depth - 1);
	touched = touched + 1;
}

__attribute__((noinline)) void stacks_catch()
{
	try {
		stacks_throw(DEPTH);
	} catch (int) {
		stacks_leaf();
	}
	try {
		stacks_cleaned(DEPTH);
	} catch (int) {
		stacks_leaf();
	}
	stacks_leaf();
	touched = touched + 1;
}

/* Caught and thrown again. */
__attribute__((noinline)) void stacks_again()
{
	try {
		stacks_throw(DEPTH);
	} catch (int) {
		stacks_leaf();
		throw;
	}
}

__attribute__((noinline)) void stacks_outside()
{
	try {
		stacks_again();
	} catch (...) {
		stacks_leaf();
	}
	touched = touched + 1;
}

__attribute__((noinline)) void stacks_rounds()
{
	for (int i = 0; i < ROUNDS; i++) {
		stacks_catch();
		stacks_outside();
	}
	touched = touched + 1;
}

__attribute__((noinline)) void stacks_over()
{
	touched = touched + 1;
}
}

Destroyed::~Destroyed()
{
	stacks_leaf();
}

int main()
{
	stacks_rounds();
	stacks_over();
	return 0;
}
