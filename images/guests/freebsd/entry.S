/* SPDX-License-Identifier: MIT */
/*
 * What runs before the kernel's own first instruction, in the state that PVH gives: 32-bit, no paging, no stack, %ebx
 * points at struct hvm_start_info (Xen, public/arch-x86/hvm/start_info.h).  See entry.py, which defines the capitals.
 */
	.code32
	.text
	.globl	_start
_start:
	cld
	movl	$TSC_FREQ_VALUE, TSC_FREQ
	movl	$1, TSC_IS_INVARIANT
	movl	$1, TSC_EARLY_CALIB_EXACT

	cmpl	$0, 12(%ebx)		/* nr_modules */
	je	9f
	movl	16(%ebx), %eax		/* modlist_paddr */
	movl	(%eax), %edx		/* the root file system's place: the first module's paddr */

	/* Into the command line, in place of the zeros of hint.md.0.physaddr=0x00000000. */
	movl	24(%ebx), %edi		/* cmdline_paddr */
	addl	$DIGITS_AT, %edi
	movl	%edx, %ebp
	movl	$8, %ecx
1:	roll	$4, %ebp
	movl	%ebp, %eax
	andl	$15, %eax
	movb	digits(%eax), %al
	stosb
	loop	1b

	/* The memory that it lies in ends where it begins. */
	movl	40(%ebx), %edi		/* memmap_paddr: u64 addr, u64 size, u32 type, u32 */
	movl	48(%ebx), %ecx		/* memmap_entries */
2:	cmpl	$1, 16(%edi)		/* memory? */
	jne	3f
	cmpl	$0, 4(%edi)		/* below 4 GiB? */
	jne	3f
	movl	%edx, %eax
	subl	(%edi), %eax
	jb	3f
	cmpl	8(%edi), %eax
	jae	3f
	movl	%eax, 8(%edi)
3:	addl	$24, %edi
	loop	2b

	/* No modules: the kernel would want them described as its loader does. */
	xorl	%eax, %eax
	movl	%eax, 12(%ebx)
	movl	%eax, 16(%ebx)

9:	movl	$ENTRY, %eax
	jmp	*%eax

digits:	.ascii	"0123456789abcdef"
	.section .note.GNU-stack, "", @progbits
