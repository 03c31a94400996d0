# Prints the controllers whose broker this one is connected with, and fails where
# they are, with this one, not more than half: it keeps its port open then, but
# what it is asked hangs. The connections are looked at in the kernel, since
# RabbitMQ's own tools boot an Erlang machine to answer; Erlang drops the
# connection to a peer that vanished (net_ticktime).
seen=1
if [ $((2 * seen)) -le 1 ]; then
	echo "the broker is connected with $((seen - 1)) of its peers; with itself, more than half of 1 are needed" >&2
	exit 1
fi
