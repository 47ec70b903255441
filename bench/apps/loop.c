/* The C loop: accept, and send(2) to each. No HTTP server, no history, no slow readers: the floor on this machine.
 * A request must come in one piece of at most 64 KiB; a client that takes less than all is dropped. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 65536

static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char DONE[] = "HTTP/1.1 204 No Content\r\n\r\n";

static int clients[MOST], places[MOST], count; /* places[fd] is 1 + its place in clients; 0 for who does not listen */

static void leave(int fd) {
    int place = places[fd];
    if (place) {
        int last = clients[--count];
        clients[place - 1] = last;
        places[last] = place;
        places[fd] = 0;
    }
    close(fd);
}

static void publish(const char *data, int size) {
    static char event[MOST + 64], frame[MOST + 128];
    static int id;
    int length = snprintf(event, sizeof event, "id: %d\ndata: %.*s\n\n", ++id, size, data);
    int all = snprintf(frame, sizeof frame, "%x\r\n%s\r\n", length, event);
    for (int i = count - 1; i >= 0; i--)
        if (send(clients[i], frame, all, MSG_DONTWAIT | MSG_NOSIGNAL) != all)
            leave(clients[i]);
}

static void serve(int fd) {
    static char request[MOST + 1];
    int size = recv(fd, request, MOST, 0);
    char *body;
    if (size <= 0) {
        leave(fd);
        return;
    }
    request[size] = 0;
    if (!strncmp(request, "GET /stream", 11)) {
        clients[count] = fd;
        places[fd] = ++count;
        send(fd, HEAD, sizeof HEAD - 1, MSG_NOSIGNAL);
        return;
    }
    body = strstr(request, "\r\n\r\n");
    if (!strncmp(request, "POST", 4) && body)
        publish(body + 4, request + size - body - 4);
    send(fd, DONE, sizeof DONE - 1, MSG_NOSIGNAL);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[argc - 1]))};
    struct epoll_event events[512], event = {.events = EPOLLIN};
    struct rlimit files;
    int listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0), on = 1;

    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("listen");
        return 1;
    }
    event.data.fd = listener;
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, 512, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd != listener) {
                serve(events[i].data.fd);
                continue;
            }
            int fd = accept(listener, NULL, NULL);
            if (fd < 0)
                continue;
            if (fd >= MOST) {
                close(fd);
                continue;
            }
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            event.data.fd = fd;
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        }
    }
}
