package cloud

// Defaults of Swift's rings (deployment guide): 1024 partitions are right for a
// handful of disks.
const (
	standardPartPower    = 10
	standardReplicas     = 3
	standardMinPartHours = 1
)

// Bounds of what is sensible: the deployment guide wants about 100 partitions on
// each disk at the cloud's full size; more of them cost every server memory and
// every replication pass time.
const (
	fewPartitions  = 100
	manyPartitions = 25_000
)

func swiftChecks() []Check {
	return []Check{
		failure("part-power", "the part power is one of Swift's", "a part power of %d is not within %d to %d", "use 10 for a handful of disks, 14 for some hundred"),
		warning("part-power-low", "there are enough partitions to share them out evenly", "a part power of %d is %d partitions on each of %d disks, fewer than %d, and some disks fill up before others", "use %[5]d: it can never be changed"),
		warning("part-power-high", "there are not more partitions than servers bear", "a part power of %d is %d partitions on each of %d disks, more than %d, which cost memory and time on every server", "use at most %[5]d, unless the cloud is to grow: it can never be changed"),
		failure("replicas-range", "there is a number of replicas", "%d replicas are not within %d to %d", "use 3"),
		failure("replicas-disks", "there are disks for all replicas", "%d replicas need as many disks, and there are %d", "add disks, or use %[2]d"),
		warning("replicas-few", "an object outlives a disk", "with %d replica of each object a lost disk is lost data", "use 3"),
		warning("zones", "replicas are in zones that do not fail together", "%d replicas in %d zones: some zone has two copies of everything", "spread the storage nodes over %[1]d zones"),
		failure("min-part-hours", "min_part_hours is one of Swift's", "%d hours are not within %d to %d", "use 1, or 24 with slow disks"),
		warning("swift-unused", "there is something for Swift's policy to rule", "there are no storages, so this has no effect", "take it out, or list storages"),
	}
}

// swift reads the policy of the rings.
func (k *checker) swift() {
	f := k.file.Swift
	if k.has("swift") && len(k.file.Storages) == 0 {
		k.say("swift-unused", "swift")
	}
	disks, zones := 0, map[int]bool{}
	for _, n := range k.cloud.Storages {
		disks += len(n.Disks)
		zones[n.Zone] = true
	}
	s := &k.cloud.Swift
	s.PartPower = k.number("part-power", "swift.part_power", f.PartPower, standardPartPower, 1, 32)
	s.MinPartHours = k.number("min-part-hours", "swift.min_part_hours", f.MinPartHours, standardMinPartHours, 0, 255)
	s.Replicas = k.number("replicas-range", "swift.replicas", f.Replicas, max(1, min(standardReplicas, disks)), 1, 16)
	if disks == 0 {
		return
	}
	// A lab has few disks, and its operator does not hear that of every check.
	lab := len(k.cloud.Controllers) == 1
	switch {
	case s.Replicas > disks:
		k.say("replicas-disks", "swift.replicas", s.Replicas, disks)
	case s.Replicas == 1 && !lab:
		k.say("replicas-few", "swift.replicas", s.Replicas)
	case s.Replicas > len(zones) && !lab:
		k.say("zones", "swift.replicas", s.Replicas, len(zones))
	}
	each := func(power int) int { return (1 << power) * s.Replicas / disks }
	switch right := s.PartPower; {
	case each(right) < fewPartitions:
		for each(right) < fewPartitions {
			right++
		}
		k.say("part-power-low", "swift.part_power", s.PartPower, each(s.PartPower), disks, fewPartitions, right)
	case each(right) > manyPartitions:
		for each(right) > manyPartitions {
			right--
		}
		k.say("part-power-high", "swift.part_power", s.PartPower, each(s.PartPower), disks, manyPartitions, right)
	}
}
