# Chooses the version that is started, for U-Boot.
#
# good.env names the version that came back well. trial.env, if it is there, names
# a newer one, which has three tries: each is written down before it is made. It is
# made good by the system itself (preau-healthy.service); a version whose tries are
# used up is not started any more.

setenv preau_disk "${devtype} ${devnum}:${distro_bootpart}"
setenv preau_version
setenv version
if load ${preau_disk} ${kernel_addr_r} good.env; then env import -t ${kernel_addr_r} ${filesize} version; fi
# The power may have failed while good.env was written.
if test -z "${version}"; then if load ${preau_disk} ${kernel_addr_r} good.new; then env import -t ${kernel_addr_r} ${filesize} version; fi; fi
setenv preau_version "${version}"

if test -e ${preau_disk} trial.env; then
	setenv preau_try
	if test -e ${preau_disk} try3; then echo "this version was tried three times"; else setenv preau_try try3; fi
	if test -e ${preau_disk} try2; then echo "twice"; else setenv preau_try try2; fi
	if test -e ${preau_disk} try1; then echo "once"; else setenv preau_try try1; fi
	if test -e ${preau_disk} try3; then setenv preau_try; fi
	setenv version
	if test -n "${preau_try}"; then if load ${preau_disk} ${kernel_addr_r} trial.env; then env import -t ${kernel_addr_r} ${filesize} version; fi; fi
	# A try that cannot be counted is not made.
	if test -n "${version}"; then if fatwrite ${preau_disk} ${kernel_addr_r} ${preau_try} 1; then setenv preau_version "${version}"; fi; fi
fi
echo "starting ${preau_version}"

# The kernel is larger than the room that U-Boot keeps for one.
setexpr preau_kernel ${kernel_addr_r} + 10000000
setexpr preau_initrd ${kernel_addr_r} + 18000000
if test -z "${fdt_addr}"; then setenv fdt_addr ${fdtcontroladdr}; fi
# A kernel that panics starts again, and after three times in vain the older
# version is started.
setenv bootargs "root=PARTLABEL=preau_${preau_version} rootfstype=erofs ro console=ttyAMA0 console=ttyS1,115200 console=tty0 panic=10 systemd.firstboot=off audit=0 loglevel=4"
if load ${preau_disk} ${preau_kernel} preau_${preau_version}.vmlinuz; then
	if load ${preau_disk} ${preau_initrd} preau_${preau_version}.initrd; then
		booti ${preau_kernel} ${preau_initrd}:${filesize} ${fdt_addr}
	fi
fi
echo "${preau_version} does not start"
sleep 10
reset
