// Command hello is a program that a test builds.
package main

func main() { println("hello") }
