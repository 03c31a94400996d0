package cloud

import (
	"slices"
	"strings"

	"trivet/firstboot/node"
)

// smallBufferPool is the least that a database of a cloud with users wants.
const smallBufferPool node.Size = 128 << 20

func settingsChecks() []Check {
	return []Check{
		failure("setting-size", "sizes are written as such", "%q is not a size", "write a whole number and KiB, MiB or GiB, such as 128MiB"),
		failure("setting-range", "settings are such as services take", "%v is not within %v to %v", "choose one of that range, or leave the key out"),
		failure("rabbitmq-clients", "it is known how services find the queue", "%q is not a way to find the queue", "%suse one of %s"),
		warning("buffer-pool", "the database of a cloud that is no lab has room in memory", "a buffer pool of %s is for a lab: less than %s reads every table from the disk again and again", "give it up to two fifths of the memory"),
		warning("connections", "the database takes the connections of all workers", "keystone alone may hold %[4]d connections (controllers × processes × threads: %[1]d × %[2]d × %[3]d), more than max_connections, %[5]d", "raise settings.mariadb.max_connections"),
	}
}

func (k *checker) settings() {
	f, s := k.file.Settings, &k.cloud.Settings
	s.Region = k.cloud.Region
	const path = "settings."
	s.MariaDB = node.MariaDBSettings{
		BufferPool:     k.size(path+"mariadb.buffer_pool", f.MariaDB.BufferPool, 256<<20, 32<<20, 1<<40),
		GaleraCache:    k.size(path+"mariadb.galera_cache", f.MariaDB.GaleraCache, 128<<20, 16<<20, 64<<30),
		MaxConnections: k.number("setting-range", path+"mariadb.max_connections", f.MariaDB.MaxConnections, 1000, 20, 100_000),
	}
	s.RabbitMQ = node.RabbitMQSettings{
		Schedulers: k.number("setting-range", path+"rabbitmq.schedulers", f.RabbitMQ.Schedulers, 2, 1, 64),
		Memory:     k.size(path+"rabbitmq.memory", f.RabbitMQ.Memory, 512<<20, 128<<20, 256<<30),
	}
	s.Memcached = node.MemcachedSettings{Memory: k.size(path+"memcached.memory", f.Memcached.Memory, 64<<20, 1<<20, 64<<30)}
	s.Keystone = node.KeystoneSettings{
		Processes: k.number("setting-range", path+"keystone.processes", f.Keystone.Processes, 2, 1, 64),
		Threads:   k.number("setting-range", path+"keystone.threads", f.Keystone.Threads, 4, 1, 64),
	}
	ways := []string{node.ClientsVIP, node.ClientsNodes}
	s.RabbitMQ.Clients = node.ClientsVIP
	if given := f.RabbitMQ.Clients; slices.Contains(ways, given) {
		s.RabbitMQ.Clients = given
	} else if given != "" {
		k.say("rabbitmq-clients", path+"rabbitmq.clients", given, didYouMean(given, ways), strings.Join(ways, ", "))
	}
	k.cloud.RabbitMQClients = s.RabbitMQ.Clients
	k.together()
}

// together looks at settings beside each other.
func (k *checker) together() {
	s, controllers := k.cloud.Settings, len(k.cloud.Controllers)
	if controllers > 1 && s.MariaDB.BufferPool < smallBufferPool {
		k.say("buffer-pool", "settings.mariadb.buffer_pool", s.MariaDB.BufferPool, smallBufferPool)
	}
	workers := controllers * s.Keystone.Processes * s.Keystone.Threads
	if workers > s.MariaDB.MaxConnections {
		k.say("connections", "settings.keystone", controllers, s.Keystone.Processes, s.Keystone.Threads, workers, s.MariaDB.MaxConnections)
	}
}

// size returns the size that is given, or standard.
func (k *checker) size(path, given string, standard, least, most node.Size) node.Size {
	if given == "" {
		return standard
	}
	s, err := node.ParseSize(given)
	switch {
	case err != nil:
		k.say("setting-size", path, given)
	case s < least || s > most:
		k.say("setting-range", path, s, least, most)
	default:
		return s
	}
	return standard
}
