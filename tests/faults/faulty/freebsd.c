/* SPDX-License-Identifier: MIT */
#include "faulty.h"

#include <sys/types.h>
#include <sys/sysctl.h>

void faulty_panic(void)
{
	int yes = 1;

	sysctlbyname("debug.kdb.panic", 0, 0, &yes, sizeof yes);
}
