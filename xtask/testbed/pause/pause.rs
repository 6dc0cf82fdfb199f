//! The program of the pod sandbox container: holds the pod's namespaces open and does nothing.

fn main() {
    loop {
        std::thread::park();
    }
}
