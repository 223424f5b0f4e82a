/* SPDX-License-Identifier: MIT */
#ifndef FAULTY_H
#define FAULTY_H

/* Bring the kernel down, from outside of it if there is a way.  Returns where there is none. */
void faulty_panic(void);

#endif
