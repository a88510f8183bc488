/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which file an address of the current task belongs to. The first time that a
 * file is seen, user space is told its path and its build ID, so it can find
 * the names when the process is long gone.
 */
#ifndef __FILES_BPF_H
#define __FILES_BPF_H

#include "map_seq.bpf.h"

#define MAX_FILES	16384
#define MAX_FILE_NUMBER	(1U << (64 - FILE_SHIFT))
#define MAX_DEPTH	64	/* of directories and mounts */
#define LOCK_TRIES	8
#define MAX_AT_ONCE	1024	/* files that are given a number in execve() or exit */
#define AREAS_PER_FILE	32	/* looked at to find the head of a file */
#define HEAD_SLACK	(256 * 1024)
#define NSEC_PER_SEC	1000000000ULL
#define VM_WRITE	2
#define VM_EXEC		4
#define VM_SHARED	8
#define PT_NOTE		4
#define NT_GNU_BUILD_ID	3

int bpf_iter_task_vma_new(struct bpf_iter_task_vma *it, struct task_struct *task,
			  u64 addr) __ksym;
struct vm_area_struct *bpf_iter_task_vma_next(struct bpf_iter_task_vma *it) __ksym;
void bpf_iter_task_vma_destroy(struct bpf_iter_task_vma *it) __ksym;

/* Those who run a file keep its inode: as long as it lives no other has the address. */
struct file_key {
	__u64 inode;
	__u64 ino;
	__u32 dev;
	__u32 generation;
};

/* A mapping of code. */
struct area {
	__u64 start;
	__u64 end;
	__u64 offset;		/* of its start in the file */
	__u32 file;
	__u16 wants_id;		/* nobody has sent its build ID yet */
	__u16 is_fixed;		/* nobody has written, or will write, what is mapped */
	struct file_key key;
};

static bool is_in_area(const struct area *area, __u64 ip)
{
	return ip >= area->start && ip < area->end;
}

struct known_file {
	__u32 nr;
	__u32 id_sent;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_FILES);
	__type(key, struct file_key);
	__type(value, struct known_file);
} files SEC(".maps");

const volatile __u32 page_shift = 12;

__u32 nr_files;			/* file numbers given out */
__u32 nr_at_once;		/* ... in execve() or exit */
__u64 files_lost;		/* ... but no room for the file, its path or its build ID */

/* The namespace of /proc, see find_proc(). */
__u32 proc_level;
__u64 proc_ns;

/* What a process is called in the namespace that is @level deep. */
static void get_upid(struct pid *pid, __u32 level, struct upid *upid)
{
	__u64 numbers = (__u64)pid + bpf_core_field_offset(struct pid, numbers);

	if (bpf_probe_read_kernel(upid, sizeof(*upid), (void *)numbers + level * sizeof(*upid)))
		upid->ns = NULL;
}

/* The current process as /proc has it, or 0. */
static __u32 proc_pid(void)
{
	struct upid upid;
	struct pid *pid;

	if (!proc_level)
		return bpf_get_current_pid_tgid() >> 32;
	pid = bpf_get_current_task_btf()->group_leader->thread_pid;
	if (pid->level < proc_level)
		return 0;
	get_upid(pid, proc_level, &upid);
	return (__u64)upid.ns == proc_ns ? upid.nr : 0;
}

static __u64 get_mtime(const struct inode *inode)
{
	return inode->i_mtime_sec * NSEC_PER_SEC + inode->i_mtime_nsec;
}

static void get_key(struct inode *inode, struct file_key *key)
{
	key->inode = (__u64)inode;
	key->ino = inode->i_ino;
	key->dev = inode->i_sb->s_dev;
	key->generation = inode->i_generation;
}

/* Not every kernel has these, and so not every vmlinux.h. */
struct mm_struct___vdso {
	struct {
		void *vdso;
		void *vdso_image;
	} context;
} __attribute__((preserve_access_index));

/* The code that the kernel gives to each process. Programs of 32 bits have another. */
static bool is_vdso(const struct vm_area_struct *vma, struct file_key *key)
{
	struct mm_struct___vdso *mm = (void *)bpf_get_current_task_btf()->mm;

	if (!bpf_core_field_exists(mm->context.vdso) ||
	    BPF_CORE_READ(mm, context.vdso) != (void *)vma->vm_start)
		return false;
	__builtin_memset(key, 0, sizeof(*key));
	key->ino = vma->vm_end - vma->vm_start;
	if (bpf_core_field_exists(mm->context.vdso_image))
		key->inode = (__u64)BPF_CORE_READ(mm, context.vdso_image);
	return true;
}

/*
 * Functions here that are not static: the verifier looks at them once, instead of in
 * each state that a caller may be in. None of them sleeps, so it may be anywhere.
 */

static long put_name(char *to, struct dentry *dentry)
{
	return bpf_probe_read_kernel_str(to, NAME_LEN, BPF_CORE_READ(dentry, d_name.name));
}

/*
 * bpf_d_path() is not for programs like this one. User space puts the names in order. What
 * is in no directory has a name all the same: memfd_create() gives it.
 */
__noinline __u32 put_names(struct path_record *record __arg_nonnull, __u64 dentry_addr,
			   __u64 vfsmount_addr)
{
	struct dentry *dentry = (void *)dentry_addr, *up;
	struct mount *mount, *parent;
	__u64 pos = 0;
	__u32 nr = 0;
	long len;
	int i;

	if (BPF_CORE_READ(dentry, d_parent) == dentry)
		return put_name(record->names, dentry) > 0;
	mount = (void *)vfsmount_addr - bpf_core_field_offset(struct mount, mnt);
	bpf_for(i, 0, MAX_DEPTH) {
		if (dentry == BPF_CORE_READ(mount, mnt.mnt_root)) {
			parent = BPF_CORE_READ(mount, mnt_parent);
			if (parent == mount)
				break;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = parent;
			continue;
		}
		up = BPF_CORE_READ(dentry, d_parent);
		if (up == dentry || pos >= PATH_LEN)
			break;
		barrier_var(pos);	/* or else the compiler leaves the mask out */
		len = put_name(record->names + (pos & (PATH_LEN - 1)), dentry);
		if (len <= 0)
			break;
		pos += len;
		nr++;
		dentry = up;
	}
	return nr;
}

/* A file of a layered file system is mapped from the layer; this is where users see it. */
struct backing_file___x {
	struct path user_path;
} __attribute__((preserve_access_index));

/* Its bit was 25 once, and 24 later. Of files that users map, only these have both. */
#define FMODE_BACKING	0x03000000
#define FMODE_NOACCOUNT	0x20000000

static __u32 put_path(struct path_record *record, struct file *file)
{
	struct backing_file___x *backing = (void *)file;

	if (!file) {
		__builtin_memcpy(record->names, "[vdso]", sizeof("[vdso]"));
		return 1;
	}
	if (file->f_mode & FMODE_BACKING && file->f_mode & FMODE_NOACCOUNT &&
	    bpf_core_field_exists(backing->user_path))
		return put_names(record, (__u64)BPF_CORE_READ(backing, user_path.dentry),
				 (__u64)BPF_CORE_READ(backing, user_path.mnt));
	return put_names(record, (__u64)BPF_CORE_READ(file, f_path.dentry),
			 (__u64)BPF_CORE_READ(file, f_path.mnt));
}

static bool is_program(const struct file *file)
{
	struct mm_struct *mm = bpf_get_current_task_btf()->mm;

	return file->f_inode == BPF_CORE_READ(mm, exe_file, f_inode);
}

/* Whether a file that nobody has seen before gets a number. */
enum add {
	ADD_NONE,
	ADD,
	ADD_AT_ONCE,		/* of a process that is about to be another program, or gone */
};

static void send_path(struct path_record *record, struct area *area, struct file *file, __u32 nr,
		      __u32 add)
{
	record->type = RECORD_PATH;
	record->file = nr;
	record->pid = add == ADD_AT_ONCE ? 0 : proc_pid();
	record->is_vdso = !file;
	record->is_program = file && is_program(file);
	record->start = area->start;
	record->end = area->end;
	record->size = file ? file->f_inode->i_size : 0;
	record->mtime = file ? get_mtime(file->f_inode) : 0;
	record->nr_names = put_path(record, file);
	bpf_ringbuf_submit(record, BPF_RB_FORCE_WAKEUP);
}

/* Of those who see a file first at the same time, one gives it its number. */
static void add_file(struct area *area, struct file *file, __u32 add)
{
	struct path_record *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	struct known_file new = {};
	long err = -ENOSPC;

	if (record) {
		new.nr = __sync_fetch_and_add(&nr_files, 1) + 1;
		if (new.nr < MAX_FILE_NUMBER)
			err = bpf_map_update_elem(&files, &area->key, &new, BPF_NOEXIST);
		if (!err) {
			send_path(record, area, file, new.nr, add);
			return;
		}
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
	}
	if (err != -EEXIST)
		__sync_fetch_and_add(&files_lost, 1);
}

/*
 * The file's number. If it has none, it is given one with @add (enum add); without, it counts
 * as a file whose build ID nobody has sent. The iterator keeps the file in place.
 */
static void number_file(struct area *area, struct vm_area_struct *vma, __u32 add)
{
	struct file *file = vma->vm_file;
	struct known_file *known;

	if (file)
		get_key(file->f_inode, &area->key);
	else if (!is_vdso(vma, &area->key))
		return;
	known = bpf_map_lookup_elem(&files, &area->key);
	if (!known && add) {
		add_file(area, file, add);
		known = bpf_map_lookup_elem(&files, &area->key);
	}
	area->wants_id = !add;
	if (!known)
		return;
	area->file = known->nr;
	area->wants_id = !known->id_sent;
}

static void fill_area(struct area *area, struct vm_area_struct *vma, __u32 add)
{
	area->start = vma->vm_start;
	area->end = vma->vm_end;
	area->offset = vma->vm_file ? (__u64)vma->vm_pgoff << page_shift : 0;
	area->file = 0;
	area->wants_id = 0;
	/* With an anon_vma, the process may have written there. */
	area->is_fixed = !(vma->vm_flags & (VM_WRITE | VM_SHARED)) && !vma->anon_vma;
	number_file(area, vma, add);
}

struct search {
	struct area *area;
	__u32 add;
};

static long see_area(struct task_struct *task, struct vm_area_struct *vma, struct search *search)
{
	if (vma->vm_flags & VM_EXEC)
		fill_area(search->area, vma, search->add);
	return 0;
}

/*
 * Much dearer than bpf_find_vma(), but before 6.18 it needs no more than the area's own
 * lock. An area that somebody has locked is passed over there.
 */
static bool iterate_to_area(__u64 ip, const struct search *search)
{
	struct vm_area_struct *vma;
	struct bpf_iter_task_vma it;
	bool found;

	bpf_iter_task_vma_new(&it, bpf_get_current_task_btf(), ip);
	vma = bpf_iter_task_vma_next(&it);
	found = vma && vma->vm_start <= ip;
	if (found && (vma->vm_flags & VM_EXEC))
		fill_area(search->area, vma, search->add);
	bpf_iter_task_vma_destroy(&it);
	return found;
}

/* -ENOENT: nothing is mapped there; -EBUSY: that can't be seen now, as somebody has a lock. */
__noinline int look_up_area(__u64 ip, struct area *area __arg_nonnull, __u32 add)
{
	struct search search = { .area = area, .add = add };
	long err;

	area->end = 0;
	area->file = 0;
	area->wants_id = 0;
	err = bpf_find_vma(bpf_get_current_task_btf(), ip, see_area, &search, 0);
	if (err == -EBUSY && iterate_to_area(ip, &search))
		err = 0;
	return err;
}

/* Where the mapping that @addr is in ends; 0 if that can't be seen. */
__noinline __u64 end_of_mapping(__u64 addr)
{
	struct vm_area_struct *vma;
	struct bpf_iter_task_vma it;
	__u64 end = 0;

	bpf_iter_task_vma_new(&it, bpf_get_current_task_btf(), addr);
	vma = bpf_iter_task_vma_next(&it);
	if (vma && vma->vm_start <= addr)
		end = vma->vm_end;
	bpf_iter_task_vma_destroy(&it);
	return end;
}

/*
 * A page fault outside of every mapping waits until the one who changes the
 * memory map is done with it.
 */
static void wait_for_mm(void)
{
	char byte;

	bpf_copy_from_user(&byte, sizeof(byte), NULL);
}

/*
 * Neither of the two ways waits for a lock. A process that forks, for one, has locked its
 * memory map and each area.
 */
static int find_area(__u64 ip, struct area *area)
{
	int i, err = look_up_area(ip, area, ADD);

	if (err != -EBUSY)
		return err;
	bpf_for(i, 1, LOCK_TRIES) {
		wait_for_mm();
		err = look_up_area(ip, area, ADD);
		if (err != -EBUSY)
			break;
	}
	return err;
}

/*
 * Where the head of the area's file is mapped: in front of the code, but how
 * far is the linker's choice.
 */
__noinline __u64 find_head(const struct area *area __arg_nonnull)
{
	__u64 from = area->start - area->offset, head = 0;
	struct vm_area_struct *vma;
	struct bpf_iter_task_vma it;
	struct file *file;
	int i;

	/* The vdso is no file, on no device: its head is where it starts. */
	if (!area->key.dev)
		return area->start;
	from = from > HEAD_SLACK ? from - HEAD_SLACK : 0;
	bpf_iter_task_vma_new(&it, bpf_get_current_task_btf(), from);
	bpf_for(i, 0, AREAS_PER_FILE) {
		vma = bpf_iter_task_vma_next(&it);
		if (!vma || vma->vm_start > area->start)
			break;
		file = vma->vm_file;
		/* With an anon_vma, the process may have written there. */
		if (!file || vma->vm_pgoff || vma->anon_vma)
			continue;
		if ((__u64)file->f_inode == area->key.inode)
			head = vma->vm_start;
	}
	bpf_iter_task_vma_destroy(&it);
	return head;
}

/* A note of a 64-bit file is no other than of a 32-bit one, which the kernel has everywhere. */
struct build_id_note {
	struct elf32_note head;
	char name[4];
	__u8 id[BUILD_ID_LEN];
};

static bool is_build_id(const struct build_id_note *note)
{
	return note->head.n_type == NT_GNU_BUILD_ID && note->head.n_namesz == 4 &&
	       note->name[0] == 'G' && note->name[1] == 'N' && note->name[2] == 'U' &&
	       note->head.n_descsz <= BUILD_ID_LEN;
}

/* Whether there is nothing more to look for. */
static bool search_notes(__u64 at, __u64 len, __u64 align, struct build_id_record *record)
{
	struct build_id_note note;
	__u64 end = at + len;
	int i;

	align = align > 4 ? 7 : 3;
	bpf_for(i, 0, 16) {
		if (at >= end)
			break;
		if (bpf_copy_from_user(&note, sizeof(note), (void *)at)) {
			record->unread = true;
			return true;
		}
		if (is_build_id(&note)) {
			record->len = note.head.n_descsz;
			__builtin_memcpy(record->build_id, note.id, BUILD_ID_LEN);
			return true;
		}
		at += sizeof(note.head) + ((note.head.n_namesz + 3) & ~3ULL);
		at += ((__u64)note.head.n_descsz + align) & ~align;
	}
	return false;
}

/* All of this may fault: the head of a file is seldom touched after its start. */
static void read_build_id(__u64 head, struct build_id_record *record)
{
	struct elf64_phdr phdr;
	struct elf64_hdr elf;
	__u64 at;
	int i;

	record->unread = bpf_copy_from_user(&elf, sizeof(elf), (void *)head);
	if (record->unread || elf.e_ident[0] != 0x7f || elf.e_ident[1] != 'E' ||
	    elf.e_ident[2] != 'L' || elf.e_ident[3] != 'F' || elf.e_ident[4] != 2)
		return;
	at = head + elf.e_phoff;
	bpf_for(i, 0, 64) {
		if (i >= elf.e_phnum)
			break;
		record->unread = bpf_copy_from_user(&phdr, sizeof(phdr), (void *)at);
		if (record->unread)
			break;
		if (phdr.p_type == PT_NOTE &&
		    search_notes(head + phdr.p_offset, phdr.p_filesz, phdr.p_align, record))
			break;
		at += sizeof(phdr);
	}
}

/* Once for each file, by the one who comes first. */
static bool may_send_id(const struct area *area)
{
	struct known_file *known = bpf_map_lookup_elem(&files, &area->key);

	return known && !__sync_lock_test_and_set(&known->id_sent, 1);
}

static void send_id(struct build_id_record *record, __u32 file)
{
	record->type = RECORD_BUILD_ID;
	record->file = file;
	if (bpf_ringbuf_output(&ring, record, sizeof(*record), BPF_RB_FORCE_WAKEUP))
		__sync_fetch_and_add(&files_lost, 1);
}

/*
 * A function of its own at run time, too: otherwise what it needs of the stack would be
 * missing where an area is looked up.
 */
static __noinline void send_build_id(const struct area *area)
{
	struct build_id_record record = { .unread = true };
	__u64 head;

	if (!may_send_id(area))
		return;
	head = find_head(area);
	/* Perhaps locked: see iterate_to_area(). */
	if (!head) {
		wait_for_mm();
		head = find_head(area);
	}
	if (head)
		read_build_id(head, &record);
	send_id(&record, area->file);
}

/*
 * Without page faults, the kernel finds it in what it has of the file in memory: of @frame of
 * its own walk, which has to be ours. A child has seldom touched the head of the file.
 */
static bool ask_for_build_id(const struct area *area, __u64 ip, __u32 frame,
			     struct build_id_record *record)
{
	__u64 flags = BPF_F_USER_STACK | (frame & BPF_F_SKIP_FIELD_MASK), same = 0;
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpf_stack_build_id found;

	if (bpf_get_task_stack(task, &same, sizeof(same), flags) != sizeof(same) || same != ip)
		return false;
	flags |= BPF_F_USER_BUILD_ID;
	if (bpf_get_task_stack(task, &found, sizeof(found), flags) != sizeof(found) ||
	    found.status != BPF_STACK_BUILD_ID_VALID ||
	    found.offset != ip - area->start + area->offset)
		return false;
	record->unread = false;
	record->len = BUILD_ID_LEN;
	__builtin_memcpy(record->build_id, found.build_id, BUILD_ID_LEN);
	return true;
}

struct area_place {
	__u64 start, offset, inode;
};

/* Whether another thread may have mapped another file there. Not every kernel counts changes. */
static bool is_changed(const struct area *area, const struct area_place *place, __u32 seq)
{
	return map_seq(bpf_get_current_task_btf()->mm) != seq ||
	       (!seq && (area->start != place->start || area->offset != place->offset ||
			 area->key.inode != place->inode));
}

/* For who may not sleep: a file that is new has a number only if its build ID is at hand. */
static __noinline int find_area_at_once(__u64 ip, struct area *area, __u32 frame)
{
	__u32 seq = map_seq(bpf_get_current_task_btf()->mm);
	struct build_id_record record = {};
	int err = look_up_area(ip, area, ADD_NONE);
	struct area_place place = { area->start, area->offset, area->key.inode };

	if (err || !area->wants_id)
		return err;
	if (nr_at_once >= MAX_AT_ONCE || !ask_for_build_id(area, ip, frame, &record))
		return -EBUSY;
	__sync_fetch_and_add(&nr_at_once, 1);
	err = look_up_area(ip, area, ADD_AT_ONCE);
	if (err || !area->file || is_changed(area, &place, seq))
		return -EBUSY;
	if (may_send_id(area))
		send_id(&record, area->file);
	return 0;
}

#endif /* __FILES_BPF_H */
