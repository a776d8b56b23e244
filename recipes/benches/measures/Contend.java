import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.RetryOneTime;

/**
 * What {@code measures} does with a lock, done with Curator's: so many clients want one lock, each so many
 * times. Prints the nanoseconds that a turn takes, warmed up before.
 */
public final class Contend {
    public static void main(String[] args) throws Exception {
        String servers = args[0];
        int contenders = Integer.parseInt(args[1]);
        int turns = Integer.parseInt(args[2]);
        List<CuratorFramework> clients = new ArrayList<>();
        for (int n = 0; n < contenders; n++) {
            CuratorFramework client =
                    CuratorFrameworkFactory.newClient(servers, 40_000, 30_000, new RetryOneTime(100));
            client.start();
            client.blockUntilConnected();
            clients.add(client);
        }
        // The compiler of the virtual machine has seen everything once before it counts.
        run(clients, "/warm", turns);
        System.out.println(run(clients, "/contended-by-curator", turns));
        for (CuratorFramework client : clients) {
            client.close();
        }
    }

    private static long run(List<CuratorFramework> clients, String path, int turns) throws Exception {
        CountDownLatch ready = new CountDownLatch(clients.size());
        CountDownLatch go = new CountDownLatch(1);
        AtomicInteger inside = new AtomicInteger();
        List<Thread> threads = new ArrayList<>();
        List<Throwable> failures = new ArrayList<>();
        for (CuratorFramework client : clients) {
            InterProcessMutex lock = new InterProcessMutex(client, path);
            Thread thread = new Thread(() -> {
                try {
                    ready.countDown();
                    go.await();
                    for (int turn = 0; turn < turns; turn++) {
                        lock.acquire();
                        if (inside.incrementAndGet() != 1) {
                            throw new IllegalStateException("two have the lock");
                        }
                        inside.decrementAndGet();
                        lock.release();
                    }
                } catch (Exception failure) {
                    synchronized (failures) {
                        failures.add(failure);
                    }
                }
            });
            thread.start();
            threads.add(thread);
        }
        ready.await();
        long start = System.nanoTime();
        go.countDown();
        for (Thread thread : threads) {
            thread.join();
        }
        long took = System.nanoTime() - start;
        if (!failures.isEmpty()) {
            throw new IllegalStateException(failures.get(0));
        }
        return took / ((long) clients.size() * turns);
    }
}
